/**
 * @file What a plan counts in graphs, against numbers worked out by hand and against what an engine really keeps.
 */
import { describe, expect, test } from 'vitest'
import { referenceBackend } from '../../shared/backend/reference.js'
import { newGraph } from '../../shared/graph/ops/index.js'
import { bottomGraphs, topGraphs } from '../../shared/model/stage-graphs.js'
import { initialAdapter } from '../../shared/model/adapter.js'
import { openBottom } from '../../shared/model/stage.js'
import { openGolden } from '../../shared/model/testing/golden.js'
import { elements } from '../../shared/tensor.js'
import { packBatch } from '../../shared/train/batch.js'
import { evaluateFlops, productFlops, type BatchSize } from './flops.js'
import { peakBytes, valueBytes } from './live-bytes.js'
import { largestAsNumbers, prepackedBytes, weightBytes } from './weight-bytes.js'

const SIZE: BatchSize = { batch: 2, longest: 5, tokens: 8, scored: 3 }
const RANK = 4

function golden() {
  const { model, weights } = openGolden('gpt2')
  const linears = model.family.linears(model.config).filter(({ path }) => path.endsWith('c_attn'))
  const lora = { paths: linears.map(({ path }) => path), dropout: 0, scale: 2 }
  return { model, weights, linears, lora, architecture: model.family.architecture(model.config) }
}

describe('the operations of a graph', () => {
  test('are 2 m k n for each product, transposed or not, and 2 n d V for the head', () => {
    const b = newGraph()
    const x = b.input('x', 'f32', ['tokens', 16])
    const y = x.gemm(b.weight('w', [16, 32])) // 2 * 8 * 16 * 32
    const z = y.gemm(b.weight('v', [6, 32]), { transposeB: true }) // 2 * 8 * 32 * 6
    b.output('back', y.gemm(z, { transposeA: true })) // 2 * 32 * 8 * 6
    const { nll } = x
      .gather(b.input('scored', 'i32', ['scored']))
      .crossEntropyHead(b.weight('u', [96, 16]), b.input('targets', 'i32', ['scored']))
    b.output('nll', nll) // 2 * 3 * 16 * 96
    expect(evaluateFlops(productFlops(b.finish(), RANK), SIZE)).toBe(8192 + 3072 + 3072 + 9216)
  })

  test('of the whole model are those of its two sides, whichever the cut', () => {
    const { model, lora } = golden()
    const setting = { model, lora, smoothing: 0, recomputeAll: false }
    const of = (...graphs: Parameters<typeof productFlops>[0][]): number =>
      graphs.reduce((sum, graph) => sum + evaluateFlops(productFlops(graph, RANK), SIZE), 0)
    const whole = topGraphs(setting, null)
    for (const layer of [0, 1, 4]) {
      const [bottom, top] = [bottomGraphs(setting, layer), topGraphs(setting, layer)]
      expect(of(bottom.evaluation, top.evaluation)).toBe(of(whole.evaluation))
    }
  })
})

describe('the memory of a graph', () => {
  test('is what lives at once: inputs, outputs and what is still to be used; a view takes none', () => {
    const b = newGraph()
    const x = b.input('x', 'f32', ['tokens', 2]) // 64 bytes, always there
    const y = x.add(1).reshape([2, 'tokens']).mul(2) // 64 bytes until mul has read them, and 64 more of mul
    b.output('z', y.sum([0, 1])) // 4 bytes
    expect(peakBytes(b.finish(), SIZE, RANK)).toBe(3 * 64)
  })

  test('that a client keeps between forward and backward is what the engine keeps', async () => {
    const { model, weights, linears, lora } = golden()
    const backend = referenceBackend()
    const setting = { backend, model, weights, lora, smoothing: 0, recomputeAll: false, lane: 0 }
    const bottom = await openBottom(setting, 2)
    const row = (length: number) => ({ ids: new Int32Array(length).fill(5), scored: new Uint8Array(length).fill(1, 1), bytes: length })
    const adapter = initialAdapter(linears, { r: RANK, seed: 1, init: true })
    const { pending } = await bottom.forward(packBatch([row(5), row(3)]), adapter, { seed: 1, client: 'a', round: 1, step: 0, micro: 0 })
    const held = Object.values(pending.saved).reduce((sum, { shape }) => sum + 4 * elements(shape), 0)
    const { forward, saved } = bottomGraphs(setting, 2)
    expect(saved.reduce((sum, name) => sum + valueBytes(forward, forward.outputs.get(name)!, SIZE, RANK), 0)).toBe(held)
    expect(held).toBeGreaterThan(0)
    await bottom.discard(pending)
    await bottom.dispose()
  })

  test('of recomputing everything is less to keep', () => {
    const { model, lora } = golden()
    expect(bottomGraphs({ model, lora, smoothing: 0, recomputeAll: true }, 2).saved).toEqual([])
  })

  test('counts weights once, and prepacked ones once for each way round', () => {
    const { model, lora, architecture } = golden()
    const whole = topGraphs({ model, lora, smoothing: 0, recomputeAll: false }, null)
    const shapes = [...model.family.tensors(model.config).values()]
    expect(weightBytes([whole.training, whole.evaluation])).toBe(4 * shapes.reduce((sum, shape) => sum + elements(shape), 0))
    const linears = model.family.linears(model.config).reduce((sum, { in: width, out }) => sum + 4 * width * out, 0)
    const head = 4 * architecture.vocabularySize * architecture.hiddenSize
    // Forward all; backward all but block 0's that lie below its first adapter: none does, c_attn itself needs no gradient of its input.
    const notBackward = 4 * model.family.linears(model.config)[0].in * model.family.linears(model.config)[0].out
    expect(prepackedBytes(whole.training)).toBe(2 * linears - notBackward + 2 * head)
  })

  test('counts weights in blocks by direction: a byte for each value, filled up to blocks of 128, and 4 for each scale', () => {
    const b = newGraph()
    const w = b.weight('w', [200, 16])
    const y = b.input('x', 'f32', ['tokens', 200]).gemm(w) // along columns: 16 lines of 2 blocks
    b.output('back', y.gemm(w, { transposeB: true })) // along rows: 200 lines of 1 block
    b.output('picked', b.weight('table', [10, 128]).gather(b.input('at', 'i32', ['tokens']))) // 10 lines of 1 block
    const graph = b.finish()
    const inBlocks = new Set(['w', 'table'])
    const products = 16 * 2 * (128 + 4) + 200 * (128 + 4)
    expect(prepackedBytes(graph, inBlocks)).toBe(products)
    expect(weightBytes([graph, graph], inBlocks)).toBe(products + 10 * (128 + 4))
    expect(weightBytes([graph])).toBe(4 * (200 * 16 + 10 * 128))
    // The table is looked up, not multiplied.
    expect([inBlocks, new Set<string>()].map((some) => largestAsNumbers(graph, some))).toEqual([4 * 200 * 16, 0])
  })
})
