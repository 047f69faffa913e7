/**
 * @file The suite that every backend must pass. A backend's own test file calls `describeBackend`.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Graph } from '../../graph/data.js'
import { dimProduct } from '../../graph/dims.js'
import { gradients } from '../../graph/grad.js'
import { findOp, type GraphBuilder } from '../../graph/graph.js'
import { newGraph, ops, type OpName } from '../../graph/ops/index.js'
import { f32, i32, type F32Tensor, type Tensor } from '../../tensor.js'
import { isHandle, type Backend, type Handle, type Results } from '../backend.js'
import { referenceBackend } from '../reference.js'
import { memoryWeights, type WeightStore } from '../weights.js'
import { expectClose, expectIdentical, fill, normal, tensor } from './given.js'
import { opCases, type OpCase } from './op-cases.js'

export type CreateBackend = (options: { readonly threads: number; readonly lanes: number }) => Backend

const NO_WEIGHTS = memoryWeights(new Map(), 'none')

/**
 * @param create is called with 1 and 2 threads, and with 2 lanes where handles are tried in both.
 * @param threaded whether threads share an op's work, so that numbers could depend on how many there are.
 */
export function describeBackend(name: string, create: CreateBackend, { threaded }: { readonly threaded: boolean }): void {
  describe(`${name} backend`, () => {
    let backend: Backend
    const others: Backend[] = []
    beforeAll(() => {
      backend = create({ threads: 2, lanes: 2 })
    })
    afterEach(() => {
      expect(backend.liveHandles()).toBe(0)
    })
    afterAll(async () => {
      await Promise.all([backend, ...others].map((one) => one.dispose()))
    })

    describe.each(Object.entries(opCases) as [OpName, readonly OpCase[]][])('%s', (op, cases) => {
      test.each(cases)('computes what its kernel does: $title', async (opCase) => {
        const program = await backend.compile(opGraph(op, opCase), NO_WEIGHTS, { name: op })
        for (const inputs of runsOf(opCase)) expectClose(await program.run(inputs), await onReference(opGraph(op, opCase), inputs))
        await program.dispose()
      })
      if (!threaded) return
      test.each(cases)('gives the same bits with one thread as with two: $title', async (opCase) => {
        const single = (others[0] ??= create({ threads: 1, lanes: 1 }))
        const [one, two] = await Promise.all([single, backend].map((on) => on.compile(opGraph(op, opCase), NO_WEIGHTS, { name: op })))
        for (const inputs of runsOf({ ...opCase, sizes: [...opCase.sizes, opCase.large] }))
          expectIdentical(await one.run(inputs), await two.run(inputs))
        await Promise.all([one.dispose(), two.dispose()])
      })
    })

    test('gives the gradients that the reference gives, for any batch, length and rank', async () => {
      const { graph, weights, given } = smallModel()
      const program = await backend.compile(graph, weights, { name: 'small-model' })
      for (const [rows, rank] of [
        [4, 2],
        [1, 1],
        [9, 3],
      ] as const) {
        const inputs = given(rows, rank)
        expectClose(await program.run(inputs), await onReference(graph, inputs, weights))
      }
      await program.dispose()
    })

    test('gives prepacked programs the same numbers to within rounding', async () => {
      const { graph, weights, given } = smallModel()
      const program = await backend.compile(graph, weights, { name: 'prepacked', prepack: true })
      expectClose(await program.run(given(7, 4)), await onReference(graph, given(7, 4), weights))
      await program.dispose()
    })

    test('gives the same bits every time', async () => {
      const { graph, weights, given } = smallModel()
      const program = await backend.compile(graph, weights, { name: 'repeated' })
      const first = await program.run(given(5, 2))
      await program.run(given(3, 1))
      for (let again = 0; again < 3; again++) expectIdentical(await program.run(given(5, 2)), first)
      await program.dispose()
    })

    test.each([false, true])('gives a row the same bits alone as in a batch, prepacked: %s', async (prepack) => {
      const { graph, weights, rows } = rowwiseModel()
      const program = await backend.compile(graph, weights, { name: 'rowwise', prepack })
      const together = tensor((await program.run({ x: rows(3, 0) }))['y'])
      for (let row = 0; row < 3; row++) {
        const alone = tensor((await program.run({ x: rows(1, row) }))['y'])
        const size = alone.data.length
        const part = f32(alone.shape, (together.data as Float32Array).slice(row * size, (row + 1) * size))
        expectIdentical({ y: alone }, { y: part })
      }
      await program.dispose()
    })

    test.each(['exp', 'tanh', 'erf', 'log', 'sqrt', 'gelu', 'gelu_grad', 'silu', 'silu_grad', 'softmax'])(
      '%s gives a row the same bits wherever it stands',
      async (op) => {
        const g = newGraph()
        const inputs = ['x', 'upstream'].slice(0, findOp(ops, op).inputs.length)
        const values = inputs.map((name) => g.input(name, 'f32', ['n', 13]))
        g.output('y', g.apply(op, values)[0])
        const program = await backend.compile(g.finish(), NO_WEIGHTS, { name: op })
        const all = fill({ dtype: 'f32', shape: [37, 13], fill: 'positive' }, op, new Map()).data as Float32Array
        const run = async (rows: number, from: number): Promise<Float32Array> => {
          const part = f32([rows, 13], all.slice(from * 13, (from + rows) * 13))
          const { y } = await program.run(Object.fromEntries(inputs.map((name) => [name, part])))
          return tensor(y).data as Float32Array
        }
        const together = await run(37, 0)
        for (const row of [0, 5, 36]) expect(await run(1, row), `row ${row}`).toEqual(together.slice(row * 13, (row + 1) * 13))
        await program.dispose()
      },
    )

    test('leaves the caller its arrays, and takes views of larger ones', async () => {
      const program = await backend.compile(doubling(), NO_WEIGHTS, { name: 'doubling' })
      const large = Float32Array.from({ length: 100 }, (_, i) => i)
      const x = f32([3], large.subarray(10, 13))
      expectIdentical(await program.run({ x }), { y: f32([3], [20, 22, 24]) })
      expect([...large.subarray(9, 14)]).toEqual([9, 10, 11, 12, 13])
      await program.dispose()
    })

    test('returns what a graph only passes on, and one value under two names', async () => {
      const g = newGraph()
      const x = g.input('x', 'f32', ['n'])
      const weight = g.weight('w', [2])
      for (const [key, value] of Object.entries({ x, x2: x, weight, constant: g.constant([1, 2], [2]), y: x.add(x), y2: x.add(x) }))
        g.output(key, value)
      const weights = memoryWeights(new Map([['w', { shape: [2], data: Float32Array.of(5, 6) }]]), 'passing')
      const program = await backend.compile(g.finish(), weights, { name: 'passing' })
      const [given, sum] = [f32([1], [3]), f32([1], [6])]
      const results = await program.run({ x: given }, { keep: ['y2'] })
      expect(isHandle(results['y2'])).toBe(true)
      await backend.release([results['y2'] as Handle])
      const { y2: _, ...tensors } = results
      expectIdentical(tensors, { x: given, x2: given, weight: f32([2], [5, 6]), constant: f32([2], [1, 2]), y: sum })
      await program.dispose()
    })

    test('takes and returns integers', async () => {
      const g = newGraph()
      const ids = g.input('ids', 'i32', ['n'])
      g.output('same', ids.reshape([1, 'n']))
      const program = await backend.compile(g.finish(), NO_WEIGHTS, { name: 'integers' })
      expectIdentical(await program.run({ ids: i32([3], [7, -1, 2 ** 30]) }), { same: i32([1, 3], [7, -1, 2 ** 30]) })
      await program.dispose()
    })

    describe('kept values', () => {
      test('go from one program to another of their lane, and can be read', async () => {
        const [first, second] = await Promise.all(
          ['first', 'second'].map((name) => backend.compile(doubling(), NO_WEIGHTS, { name, lane: 1 })),
        )
        const { y } = await first.run({ x: f32([2], [1, 2]) }, { keep: ['y'] })
        expect(y).toMatchObject({ kind: 'handle', shape: [2], lane: 1 })
        expect(backend.liveHandles()).toBe(1)
        expectIdentical(await second.run({ x: y }), { y: f32([2], [4, 8]) })
        expectIdentical(await second.run({ x: y }), { y: f32([2], [4, 8]) })
        expectIdentical({ y: await backend.read(y as Handle) }, { y: f32([2], [2, 4]) })
        expectIdentical({ y: await backend.read(y as Handle) }, { y: f32([2], [2, 4]) })
        await backend.release([y as Handle])
        await Promise.all([first.dispose(), second.dispose()])
      })

      test('outlive the program that made them', async () => {
        const program = await backend.compile(doubling(), NO_WEIGHTS, { name: 'gone' })
        const { y } = await program.run({ x: f32([1], [8]) }, { keep: ['y'] })
        await program.dispose()
        expectIdentical({ y: await backend.read(y as Handle) }, { y: f32([1], [16]) })
        await backend.release([y as Handle])
      })

      test('are refused in another lane', async () => {
        const [here, there] = await Promise.all(
          [0, 1].map((lane) => backend.compile(doubling(), NO_WEIGHTS, { name: `lane-${lane}`, lane })),
        )
        const { y } = await here.run({ x: f32([1], [8]) }, { keep: ['y'] })
        await expect(there.run({ x: y })).rejects.toThrow('lane-1: input x is a handle of lane 0, and this program is in lane 1')
        await backend.release([y as Handle])
        await Promise.all([here.dispose(), there.dispose()])
      })

      test('cannot be used or released once they are released', async () => {
        const program = await backend.compile(doubling(), NO_WEIGHTS, { name: 'released' })
        const { y } = await program.run({ x: f32([1], [8]) }, { keep: ['y'] })
        await backend.release([y as Handle])
        await expect(backend.release([y as Handle])).rejects.toThrow('released')
        await expect(backend.read(y as Handle)).rejects.toThrow('released')
        await expect(program.run({ x: y })).rejects.toThrow('released')
        await program.dispose()
      })
    })

    test('leaves out what it is told to ignore', async () => {
      const program = await backend.compile(doubling(), NO_WEIGHTS, { name: 'ignored' })
      expect(await program.run({ x: f32([1], [1]) }, { ignore: ['y'] })).toEqual({})
      await program.dispose()
    })

    test('runs a graph without outputs, as a bottom without blocks has for its backward pass', async () => {
      const g = newGraph()
      g.input('x', 'f32', ['n'])
      const program = await backend.compile(g.finish(), NO_WEIGHTS, { name: 'nothing' })
      expect(await program.run({ x: f32([1], [1]) })).toEqual({})
      await expect(program.run({})).rejects.toThrow('nothing: input x is missing')
      await program.dispose()
    })

    test('names the program and the input that does not fit', async () => {
      const program = await backend.compile(doubling(), NO_WEIGHTS, { name: 'fitting' })
      await expect(program.run({})).rejects.toThrow('fitting: input x is missing')
      await expect(program.run({ x: i32([1], [1]) })).rejects.toThrow('fitting: input x is i32, not f32')
      await expect(program.run({ x: f32([1, 1], [1]) })).rejects.toThrow('fitting: input x has shape [1, 1]')
      await program.dispose()
    })

    test('runs programs of several lanes at the same time', async () => {
      const { graph, weights, given } = smallModel()
      const programs = await Promise.all([0, 1, 2].map((lane) => backend.compile(graph, weights, { name: 'several', lane })))
      const results = await Promise.all([...programs, ...programs].map((program) => program.run(given(6, 2))))
      for (const result of results) expectIdentical(result, results[0])
      await Promise.all(programs.map((program) => program.dispose()))
    })

    test('can be disposed of with programs and kept values left', async () => {
      const left = create({ threads: 1, lanes: 2 })
      const program = await left.compile(doubling(), NO_WEIGHTS, { name: 'left' })
      await program.run({ x: f32([1], [1]) }, { keep: ['y'] })
      await left.dispose()
      expect(left.liveHandles()).toBe(0)
    })
  })
}

async function onReference(graph: Graph, inputs: Readonly<Record<string, Tensor>>, weights: WeightStore = NO_WEIGHTS): Promise<Results> {
  const program = await referenceBackend().compile(graph, weights, { name: 'expected' })
  return await program.run(inputs)
}

/** One node. Inputs beyond the op's own only tell sizes. */
function opGraph(name: OpName, { inputs, attributes = {} }: OpCase): Graph {
  const g = newGraph()
  const op = findOp(ops, name)
  const values = inputs.map(({ dtype, shape }, position) => g.input(`x${position}`, dtype, shape))
  const results = g.apply(name, values.slice(0, op.inputs.length + op.optional.length), attributes)
  results.forEach((value, position) => g.output(`y${position}`, value))
  return g.finish()
}

function runsOf({ inputs, sizes }: OpCase): Record<string, Tensor>[] {
  return sizes.map((each) => {
    const bindings = new Map(Object.entries(each))
    return Object.fromEntries(inputs.map((input, position) => [`x${position}`, fill(input, `x${position}`, bindings)]))
  })
}

function doubling(): Graph {
  const g = newGraph()
  g.output('y', g.input('x', 'f32', ['n']).mul(2))
  return g.finish()
}

const WIDTH = 24
const VOCABULARY = 40

/** An adapter on a block with a head: the loss of `rows` rows, and its gradients into A, B and the input. */
function smallModel(): {
  graph: Graph
  weights: WeightStore
  given: (rows: number, rank: number) => Record<string, Tensor>
} {
  const g = newGraph()
  const x = g.input('x', 'f32', ['rows', WIDTH])
  const [a, b] = [g.input('a', 'f32', ['rank', WIDTH]), g.input('b', 'f32', [4 * WIDTH, 'rank'])]
  const normalised = x.layerNorm(g.weight('norm.weight', [WIDTH]), g.weight('norm.bias', [WIDTH]), 1e-5)
  const base = normalised.gemm(g.weight('up', [WIDTH, 4 * WIDTH]), { add: g.weight('up.bias', [4 * WIDTH]) })
  const inner = base.add(normalised.gemm(a, { transposeB: true }).gemm(b, { transposeB: true }).mul(2)).gelu()
  const hidden = x.add(inner.gemm(g.weight('down', [4 * WIDTH, WIDTH])))
  const { nll } = hidden.crossEntropyHead(g.weight('head', [VOCABULARY, WIDTH]), g.input('targets', 'i32', ['rows']))
  const loss = nll.sum([0])
  const found = gradients(g, [[loss, g.constant([1], [1])]], [a, b, x])
  g.output('loss', loss)
  for (const [position, name] of ['a', 'b', 'x'].entries()) g.output(`grad.${name}`, found[position]!)
  return {
    graph: g.finish(),
    weights: weightsOf(g),
    given: (rows, rank) => ({
      x: normal([rows, WIDTH], 'x'),
      a: normal([rank, WIDTH], 'a'),
      b: normal([4 * WIDTH, rank], 'b'),
      targets: i32(
        [rows],
        Array.from({ length: rows }, (_, row) => (row * 13) % VOCABULARY),
      ),
    }),
  }
}

/** Rows of 60 tokens through the ops of a block; nothing mixes rows, so each must come out as it does alone. */
function rowwiseModel(): { graph: Graph; weights: WeightStore; rows: (count: number, from: number) => Tensor } {
  const [tokens, width] = [60, 96]
  const g = newGraph()
  const x = g.input('x', 'f32', ['batch', tokens, width])
  const flat = x.reshape([dimProduct(['batch', tokens]), width])
  const normalised = flat.layerNorm(g.weight('norm.weight', [width]), g.weight('norm.bias', [width]), 1e-5)
  const inner = normalised.gemm(g.weight('up', [width, width]), { add: g.weight('up.bias', [width]) }).gelu()
  const heads = inner.reshape(['batch', tokens, width])
  const scores = heads.matmul(heads, { transposeB: true }).mul(0.125).softmax()
  const mixed = scores
    .matmul(heads)
    .reshape(flat.shape)
    .gemm(g.weight('down', [width, width]), { transposeB: true })
  g.output('y', mixed.reshape(['batch', tokens, width]))
  const all = normal([3, tokens, width], 'rows')
  const size = tokens * width
  return {
    graph: g.finish(),
    weights: weightsOf(g),
    rows: (count, from) => f32([count, tokens, width], all.data.slice(from * size, (from + count) * size)),
  }
}

function weightsOf(g: GraphBuilder): WeightStore {
  const tensors = new Map<string, F32Tensor>()
  for (const { source, shape } of g.values)
    if (source.kind === 'weight') tensors.set(source.name, scaled(normal(shape as readonly number[], source.name), 0.1))
  return memoryWeights(tensors, 'contract')
}

function scaled(values: F32Tensor, factor: number): F32Tensor {
  return f32(
    values.shape,
    values.data.map((value) => value * factor),
  )
}
