import { describe, expect, test } from 'vitest'
import { tensorsOf } from '../backend/backend.js'
import { referenceBackend } from '../backend/reference.js'
import { graphInputs, graphWeights, type Graph } from '../graph/data.js'
import type { Tensor } from '../tensor.js'
import { cut, CUT_VALUE } from './cut.js'
import { lossGraph } from './graphs.js'
import { openGolden } from './testing/golden.js'

const golden = openGolden('gpt2')
const whole = lossGraph(golden.model, 0)
const blocksOf = (graph: Graph): Set<number | null> => new Set([...graphWeights(graph).keys()].map(golden.model.family.blockOf))

async function run(graph: Graph, given: Readonly<Record<string, Tensor>>, output: string): Promise<Tensor> {
  const program = await referenceBackend().compile(graph, golden.weights, { name: 'piece' })
  const inputs = Object.fromEntries([...graphInputs(graph).keys()].map((name) => [name, given[name]]))
  return tensorsOf(await program.run(inputs), [output])[0]
}

describe('cut', () => {
  test.each([[[2]], [[1, 3]], [[0, 2, 4]]])(
    'before the blocks %j makes pieces that together compute what the whole does',
    async (layers) => {
      const { lengths: _, scoredMask: __, rows: ___, ...batch } = golden.batch
      const given: Record<string, Tensor> = { ...batch, normalizer: { dtype: 'f32', shape: [], data: Float32Array.of(1) } }
      const pieces = cut(whole, layers)
      expect(pieces).toHaveLength(layers.length + 1)
      for (const piece of pieces.slice(0, -1)) given[CUT_VALUE] = await run(piece, given, CUT_VALUE)
      const [expected, joined] = [await run(whole, given, 'nll'), await run(pieces.at(-1)!, given, 'nll')]
      // Z is rounded to float32 on its way.
      expect(joined.data[0]).toBeCloseTo(expected.data[0], 4)
    },
  )

  test('gives each piece the weights of its own blocks and no others', () => {
    const [bottom, top] = cut(whole, [1])
    expect(blocksOf(bottom)).toEqual(new Set([null, 0]))
    expect(blocksOf(top)).toEqual(new Set([null, 1, 2, 3]))
    expect([...graphWeights(bottom).keys()]).not.toContain('transformer.ln_f.weight')
    expect([...graphWeights(top).keys()]).not.toContain('transformer.wpe.weight')
  })

  test('at 0 leaves the embedding below, and at the last block only norm, head and loss above', () => {
    expect(blocksOf(cut(whole, [0])[0])).toEqual(new Set([null]))
    expect(blocksOf(cut(whole, [4])[1])).toEqual(new Set([null]))
  })

  test('gives the server no token ids', () => {
    const [bottom, top] = cut(whole, [2])
    expect([...graphInputs(bottom).keys()]).toContain('ids')
    expect([...graphInputs(top).keys()]).not.toContain('ids')
  })

  test.each([5, -1, 1.5])('refuses to cut before block %d of 4', (layer) => {
    expect(() => cut(whole, [layer])).toThrow(
      expect.objectContaining({ code: 'CUT_OUT_OF_RANGE', why: 'this model has 4 blocks', fix: expect.stringContaining('from 0') }),
    )
  })
})
