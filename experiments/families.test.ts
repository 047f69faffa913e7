import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { onnxBackend } from '../shared/backend/onnx/onnx.node.js'
import type { Config } from '../shared/config/schema.js'
import { loraOfRun } from '../shared/model/loaded.js'
import { writePeftAdapter } from '../shared/model/peft.node.js'
import { openTop } from '../shared/model/stage.js'
import { goldenFile, relativeError } from '../shared/model/testing/golden.js'
import { checkInPeft } from '../shared/model/testing/peft-check.js'
import { packBatch } from '../shared/train/batch.js'
import { paddedRows } from './testing/padded-rows.js'
import { smallConfig, smallData, smallRows } from './testing/small-run.js'
import { goldenModel, runTogether } from './testing/together.js'

const BLOCKS = 4
const backend = onnxBackend({ threads: 1, lanes: 1 })
afterAll(() => backend.dispose())

let root: string
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'cutlayer-families-'))))
afterEach(() => rmSync(root, { recursive: true }))

const configWith = (split: Readonly<Record<string, unknown>>): Config =>
  smallConfig({ lora: { target_modules: null }, train: { max_grad_norm: 0, learning_rate: 0.02 }, federation: { local_steps: 3 }, split })

/** One of each family: tied and untied heads, grouped queries, a window, biases, and norms of heads. */
describe.each(['llama-gqa', 'llama-untied', 'mistral-window', 'qwen2', 'qwen3'])('a split run of %s', (golden) => {
  test('trains what the model in one piece trains, the default targets of PEFT in every block', async () => {
    const [whole, split] = [
      await runTogether({ config: configWith({ topology: 'centralized' }), backend, golden, data: smallData(1) }),
      await runTogether({ config: configWith({ cut_layer: 1 }), backend, golden, data: smallData(1) }),
    ]
    const keys = Array.from({ length: BLOCKS }, (_, block) =>
      ['q_proj', 'v_proj'].flatMap((name) => ['A', 'B'].map((matrix) => `model.layers.${block}.self_attn.${name}.lora_${matrix}.weight`)),
    ).flat()
    expect([...split.adapter.keys()]).toEqual(keys)
    const losses = ({ steps }: typeof whole): number[] => steps.filter(({ client }) => client !== null).map(({ loss }) => loss ?? NaN)
    // Float32 on both sides of the cut; a step of AdamW magnifies rounding where gradients are small.
    expect(relativeError(losses(split), losses(whole))).toBeLessThan(1e-5)
    for (const [name, { data }] of whole.adapter) expect(relativeError(split.adapter.get(name)!.data, data), name).toBeLessThan(1e-2)
    expect(split.rounds.at(-1)!.eval_loss! / whole.rounds.at(-1)!.eval_loss!).toBeCloseTo(1, 5)
    expect(split.rounds.at(-1)!.eval_loss, 'training has an effect').not.toBeCloseTo(split.rounds[0].eval_loss!, 2)
  })
})

test.for(['llama-gqa', 'qwen3'])(
  'a split run of %s leaves an adapter that loads in PEFT and gives our loss',
  { timeout: 300_000 },
  async (golden, context) => {
    const { model, weights } = goldenModel(golden)
    const config = configWith({ cut_layer: 3 })
    const { adapter } = await runTogether({ config, backend, golden, data: smallData(1) })
    const lora = loraOfRun(model, config.lora)
    const folder = join(root, 'adapter')
    await writePeftAdapter(folder, {
      lora: lora.config,
      baseModel: 'golden',
      revision: null,
      init: config.lora.init_lora_weights,
      tensors: adapter,
      card: { title: golden, paragraphs: [], facts: [] },
    })
    const rows = smallRows(0).evaluation
    const setting = { backend, model: model.definition, weights, lora: lora.setting, smoothing: 0, recomputeAll: false, lane: 0 }
    const whole = await openTop(setting, null)
    const batch = packBatch(rows)
    const ours = (await whole.evaluate(batch, adapter)) / batch.targets.data.length
    await whole.dispose()
    const theirs = await checkInPeft(goldenFile(golden, 'model'), folder, paddedRows(rows))
    if (!theirs) return context.skip('Python with torch, transformers and peft is needed')
    expect(theirs).toMatchObject({ missing: [], unexpected: [], tokens: batch.targets.data.length })
    expect(Math.abs(theirs.loss - ours) / ours).toBeLessThan(1e-4)
  },
)
