import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { onnxBackend } from '../shared/backend/onnx/onnx.node.js'
import { loraOfRun } from '../shared/model/loaded.js'
import { writePeftAdapter } from '../shared/model/peft.node.js'
import { openTop } from '../shared/model/stage.js'
import { goldenFile } from '../shared/model/testing/golden.js'
import { checkInPeft } from '../shared/model/testing/peft-check.js'
import type { F32Tensor } from '../shared/tensor.js'
import { packBatch } from '../shared/train/batch.js'
import { paddedRows } from './testing/padded-rows.js'
import { smallConfig, smallData, smallRows, type Groups } from './testing/small-run.js'
import { goldenModel, runTogether } from './testing/together.js'

const CLIENTS = 2
const backend = onnxBackend({ threads: 1, lanes: 1 })
afterAll(() => backend.dispose())

let root: string
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'cutlayer-stitched-'))))
afterEach(() => rmSync(root, { recursive: true }))

test.for<readonly [what: string, keys: Groups[string]]>([
  ['on all linear layers', { r: 4, lora_alpha: 8, target_modules: 'all-linear', use_rslora: true }],
  [
    'of unequal ranks and alphas on the layers of a pattern',
    {
      ...{ r: 4, lora_alpha: 8, target_modules: String.raw`(?!.*\.1\.).*\.(attn|mlp)\.c_.*` },
      ...{ rank_pattern: { '0.attn.c_attn': 2, c_attn: 6 }, alpha_pattern: { [String.raw`[23]\.mlp\.c_proj`]: 32 } },
    },
  ],
])(
  'the adapter of a federated run %s, both halves stitched, loads in PEFT and gives our loss',
  { timeout: 300_000 },
  async ([, keys], context) => {
    const config = smallConfig({
      lora: keys,
      train: { learning_rate: 0.02 },
      federation: { num_rounds: 2, num_clients: CLIENTS, local_steps: 3 },
    })
    const { adapter, rounds } = await runTogether({ config, backend, data: smallData(CLIENTS) })
    const { model, weights } = goldenModel('gpt2')
    const lora = loraOfRun(model, config.lora)
    const folder = join(root, 'adapter')
    await writePeftAdapter(folder, {
      lora: lora.config,
      baseModel: 'golden',
      revision: null,
      init: config.lora.init_lora_weights,
      tensors: adapter,
      card: { title: 'stitched', paragraphs: [], facts: [] },
    })

    const rows = Array.from({ length: CLIENTS }, (_, client) => smallRows(client).evaluation).flat()
    const whole = await openTop(
      { backend, model: model.definition, weights, lora: lora.setting, smoothing: 0, recomputeAll: false, lane: 0 },
      null,
    )
    const batch = packBatch(rows)
    const meanLoss = async (tensors: Map<string, F32Tensor>): Promise<number> =>
      (await whole.evaluate(batch, tensors)) / batch.targets.data.length
    const ours = await meanLoss(adapter)
    const untrained = await meanLoss(
      new Map([...adapter].map(([name, { shape, data }]) => [name, { dtype: 'f32', shape, data: data.map(() => 0) }])),
    )
    expect(Math.abs(untrained - ours), 'an adapter without effect would be seen').toBeGreaterThan(0.1)
    expect(rounds.at(-1)!.eval_loss).toBeCloseTo(ours, 4)

    const theirs = await checkInPeft(goldenFile('gpt2', 'model'), folder, paddedRows(rows))
    if (!theirs) return context.skip('Python with torch, transformers and peft is needed')
    expect(theirs).toMatchObject({ missing: [], unexpected: [], tokens: batch.targets.data.length })
    expect(Math.abs(theirs.loss - ours) / ours).toBeLessThan(1e-4)
  },
)
