import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { onnxBackend } from '../backend/onnx/onnx.node.js'
import { referenceBackend } from '../backend/reference.js'
import { tfjsEngines } from '../backend/tfjs/testing/kinds.js'
import { adapterFor, readAdapterOf } from './adapter-for.node.js'
import { ranksOf, scalesOf } from './adapter.js'
import { ofModule } from './module-selection.js'
import { writePeftAdapter } from './peft.node.js'
import { openTop } from './stage.js'
import { goldenFile, openGolden, readJson } from './testing/golden.js'

/** What PEFT makes of the folder: see testing/make_adapters.py. */
interface Expected {
  readonly model: string
  readonly loss: number
  readonly modules: Readonly<Record<string, readonly [rank: number, scale: number]>>
}

const backends = [
  { name: 'onnx', backend: onnxBackend({ threads: 1, lanes: 1 }), tolerance: 1e-4 },
  ...tfjsEngines({ lanes: 1 }).map(({ name, create }) => ({ name, backend: create(), tolerance: 1e-4 })),
  { name: 'reference', backend: referenceBackend(), tolerance: 1e-5 },
]
afterAll(() => Promise.all(backends.map(({ backend }) => backend.dispose())))

const NAMES = readdirSync(goldenFile('adapters')).filter((name) => !name.endsWith('.json'))

describe.each(NAMES)('the adapter %s that PEFT wrote', (name) => {
  const folder = goldenFile('adapters', name)
  const expected = readJson<Expected>(join(folder, 'expected.json'))
  const golden = openGolden(expected.model)

  test('stands on the modules, with the ranks and scales, that PEFT finds', async () => {
    const { lora, paths, warnings } = await readAdapterOf({ definition: golden.model }, folder)
    const [ranks, scales] = [ranksOf(lora, paths), scalesOf(lora, paths)]
    const found = paths.map((path) => [path, [ofModule(ranks, path), ofModule(scales, path)]] as const)
    expect(Object.fromEntries(found)).toEqual(expected.modules)
    expect(warnings).toEqual([])
  })

  test.each(backends)('gives on $name the loss that PEFT and PyTorch compute', async ({ backend, tolerance }) => {
    const { lora, tensors } = await adapterFor({ definition: golden.model }, folder)
    const setting = { backend, model: golden.model, weights: golden.weights, lora, smoothing: 0, recomputeAll: false, lane: 0 }
    const whole = await openTop(setting, null)
    const loss = (await whole.evaluate(golden.batch, tensors)) / golden.batch.targets.data.length
    expect(Math.abs(loss - expected.loss)).toBeLessThan(tolerance * expected.loss)
    expect(Math.abs(golden.losses.loss_base - expected.loss), 'so that an adapter without effect would be seen').toBeGreaterThan(0.01)
    await whole.dispose()
  })

  test('is what is read again when it is written', async () => {
    const root = mkdtempSync(join(tmpdir(), 'cutlayer-golden-adapter-'))
    try {
      const read = await readAdapterOf({ definition: golden.model }, folder)
      const card = { title: name, paragraphs: [], facts: [] }
      await writePeftAdapter(join(root, 'adapter'), { ...read, baseModel: 'golden', init: true, card })
      const again = await readAdapterOf({ definition: golden.model }, join(root, 'adapter'))
      expect({ ...again, lora: { ...again.lora, targetModules: [] } }).toEqual({
        ...read,
        baseModel: 'golden',
        lora: { ...read.lora, targetModules: [] },
      })
      expect(new Set(again.lora.targetModules)).toEqual(new Set(read.lora.targetModules))
    } finally {
      rmSync(root, { recursive: true })
    }
  })
})
