/**
 * @file What every backend must make of weights in 8-bit blocks.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Graph } from '../../graph/data.js'
import { gradients } from '../../graph/grad.js'
import { newGraph } from '../../graph/ops/index.js'
import { i32, type F32Tensor, type Tensor } from '../../tensor.js'
import type { Backend, Results } from '../backend.js'
import { referenceBackend } from '../reference.js'
import { memoryWeights, quantizedWeights, type WeightStore } from '../weights.js'
import type { CreateBackend } from './contract.js'
import { expectClose, expectIdentical, normal, tensor } from './given.js'

// Some sizes are multiples of a block, some are not, and some need several.
const [WIDTH, INNER, VOCABULARY] = [200, 384, 150]

/** An embedding, two layers whose weights are kept as [in, out] and as [out, in], a tied head, and gradients back to the embedding's rows. */
function model(): Graph {
  const g = newGraph()
  const embedding = g.weight('embedding', [VOCABULARY, WIDTH])
  const x = embedding.gather(g.input('ids', 'i32', ['rows'])).add(g.input('offset', 'f32', ['rows', WIDTH]))
  const inner = x.gemm(g.weight('up', [WIDTH, INNER]), { add: g.weight('bias', [INNER]) }).gelu()
  const hidden = inner.gemm(g.weight('down', [WIDTH, INNER]), { transposeB: true, add: x })
  const { nll } = hidden.crossEntropyHead(embedding, g.input('targets', 'i32', ['rows']))
  g.output('x', x)
  g.output('hidden', hidden)
  g.output('nll', nll)
  g.output('sum', embedding.sum([0]))
  const loss = nll.sum([0])
  g.output('grad', gradients(g, [[loss, g.constant([1], [1])]], [x])[0]!)
  return g.finish()
}

async function weightsInBlocks(): Promise<WeightStore> {
  const shapes = { embedding: [VOCABULARY, WIDTH], up: [WIDTH, INNER], down: [WIDTH, INNER], bias: [INNER] }
  const scaled = (name: string, shape: readonly number[]): F32Tensor => {
    const made = normal(shape, name)
    return { ...made, data: made.data.map((x) => x * 0.1) }
  }
  const plain = memoryWeights(new Map(Object.entries(shapes).map(([name, shape]) => [name, scaled(name, shape)])), 'plain')
  return quantizedWeights(
    plain,
    new Map([
      ['embedding', 'rows'],
      ['up', 'columns'],
      ['down', 'rows'],
    ]),
  )
}

function given(rows: number): Record<string, Tensor> {
  const numbers = (step: number): number[] => Array.from({ length: rows }, (_, row) => (row * step) % VOCABULARY)
  return { ids: i32([rows], numbers(7)), offset: normal([rows, WIDTH], 'offset'), targets: i32([rows], numbers(13)) }
}

/** Of each result: the length of the difference over the length of what was expected. */
function misses(results: Results, expected: Results): Record<string, number> {
  const length = (numbers: ArrayLike<number>): number => Math.hypot(...Array.from(numbers))
  return Object.fromEntries(
    Object.keys(expected).map((name) => {
      const [got, want] = [tensor(results[name]).data, tensor(expected[name]).data]
      return [name, length(want.map((x, i) => x - got[i])) / length(want)]
    }),
  )
}

/** @param inCodes whether the backend multiplies codes in prepacked programs; else their numbers are those of others */
export function describeBlocks(name: string, create: CreateBackend, { inCodes }: { readonly inCodes: boolean }): void {
  describe(`${name} backend, weights in blocks`, () => {
    let backend: Backend
    let weights: WeightStore
    let expected: Results
    beforeAll(async () => {
      backend = create({ threads: 2, lanes: 1 })
      weights = await weightsInBlocks()
      expected = await (await referenceBackend().compile(model(), weights, { name: 'expected' })).run(given(40))
    })
    afterEach(() => expect(backend.liveHandles()).toBe(0))
    afterAll(() => backend.dispose())

    test('are what they stand for: rows, products and sums are those of these numbers', async () => {
      const program = await backend.compile(model(), weights, { name: 'blocks' })
      const { grad, ...results } = await program.run(given(40))
      const { grad: wanted, ...forward } = expected
      expectClose(results, forward)
      // Backward, products are with blocks along the other axis, which stand for the same numbers less exactly.
      expect(misses({ grad }, { grad: wanted }).grad).toBeLessThan(0.01)
      await program.dispose()
    })

    test('in a prepacked program, products miss them by less than 3%', async () => {
      const program = await backend.compile(model(), weights, { name: 'codes', prepack: true })
      const missed = misses(await program.run(given(40)), expected)
      for (const [result, by] of Object.entries(missed)) expect(by, result).toBeLessThan(0.03)
      expect(missed.x).toBeLessThan(1e-6)
      if (inCodes) expect(missed.hidden).toBeGreaterThan(1e-4)
      await program.dispose()
    })

    test.each([false, true])('give the same bits every time and for any number of threads, prepacked: %s', async (prepack) => {
      const single = create({ threads: 1, lanes: 1 })
      const [one, two] = await Promise.all([single, backend].map((on) => on.compile(model(), weights, { name: 'bits', prepack })))
      const first = await two.run(given(40))
      expectIdentical(await one.run(given(40)), first)
      await two.run(given(3))
      expectIdentical(await two.run(given(40)), first)
      await two.dispose()
      await single.dispose()
    })
  })
}
