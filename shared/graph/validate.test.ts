import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Graph, NodeRecord, ValueRecord } from './data.js'
import type { Dim } from './dims.js'
import { gradients } from './grad.js'
import { newGraph } from './ops/index.js'
import { validateGraph } from './validate.js'

/** A linear layer with its loss and gradient: inputs, weights, constants, several outputs a node, optional inputs, marks. */
function example(): Graph {
  const builder = newGraph()
  const hidden = builder.weight('table', [9, 4]).gather(builder.input('ids', 'i32', ['tokens']))
  builder.mark('hidden.0', hidden)
  const trained = builder.input('adapter', 'f32', [4, 8])
  const [left, right] = hidden
    .layerNorm(builder.weight('norm', [4]), builder.constant([1, 2, 3, 4], [4]), 1e-5)
    .gemm(trained)
    .split(1, 2)
  const { nll } = left.mul(right).crossEntropyHead(builder.weight('table', [9, 4]), builder.input('targets', 'i32', ['tokens']))
  const loss = nll.sum([0])
  builder.output('loss', loss)
  builder.output('grad', gradients(builder, [[loss, builder.constant([1], [1])]], [trained])[0]!)
  return builder.finish()
}

const withValue = (graph: Graph, id: number, change: Partial<ValueRecord>): Graph => ({
  ...graph,
  values: graph.values.with(id, { ...graph.values[id], ...change }),
})
const withNode = (graph: Graph, index: number, change: Partial<NodeRecord>): Graph => ({
  ...graph,
  nodes: graph.nodes.with(index, { ...graph.nodes[index], ...change }),
})
const idOf = (graph: Graph, name: string): number =>
  graph.values.findIndex(({ source }) => (source.kind === 'input' || source.kind === 'weight') && source.name === name)
const constantOf = (graph: Graph): number => graph.values.findIndex(({ source, shape }) => source.kind === 'constant' && shape[0] === 4)
const indexOf = (graph: Graph, op: string): number => graph.nodes.findIndex((node) => node.op === op)

describe('validateGraph', () => {
  const graph = example()
  const anyValue = fc.nat({ max: graph.values.length - 1 })
  const anyNode = fc.nat({ max: graph.nodes.length - 1 })
  const used = new Set(graph.nodes.flatMap(({ inputs }) => inputs))

  test('passes what the builder and grad make, and a graph of nothing', () => {
    validateGraph(graph)
    validateGraph(newGraph().finish())
  })

  const table = idOf(graph, 'table')
  const gemm = indexOf(graph, 'gemm')
  const split = indexOf(graph, 'split')
  test.each<[string, Graph, RegExp]>([
    ['an op that no table has', withNode(graph, gemm, { op: 'cosine' }), /node \d+ \(cosine\): there is no such op/],
    ['an op named like a method', withNode(graph, gemm, { op: 'toString' }), /there is no such op/],
    [
      'an input that does not exist',
      withNode(graph, gemm, { inputs: [0, 999] }),
      /node \d+ \(gemm\): there is no value 999 for its input b/,
    ],
    ['an input that is a fraction', withNode(graph, gemm, { inputs: [0, 0.5] }), /there is no value 0.5/],
    ['an absent input', withNode(graph, gemm, { inputs: [null, 0, null] }), /its input a is absent/],
    ['too few inputs', withNode(graph, gemm, { inputs: [0] }), /its input b is absent/],
    ['too many inputs', withNode(graph, split, { inputs: [0, 1] }), /has 2 inputs, and the op takes 1/],
    ['nodes in the wrong order', { ...graph, nodes: graph.nodes.toReversed() }, /does not have it as output/],
    ['a node that reads itself', withNode(graph, gemm, { inputs: [graph.nodes[gemm].outputs[0], table] }), /is computed later/],
    ['attributes that the op refuses', withNode(graph, split, { attributes: { axis: 1, count: 3 } }), /node \d+ \(split\): .*cannot cut/],
    ['other attributes', withNode(graph, split, { attributes: { axis: 1, count: 4 } }), /it has 2 outputs, and the op gives 4/],
    ['an output too few', withNode(graph, split, { outputs: [graph.nodes[split].outputs[0]] }), /does not have it as output 1/],
    [
      'outputs in the wrong order',
      withNode(graph, split, { outputs: graph.nodes[split].outputs.toReversed() }),
      /does not have it as output/,
    ],
    ['an output that does not exist', withNode(graph, gemm, { outputs: [999] }), /does not have it as output 0/],
    ['an output too many', withNode(graph, gemm, { outputs: [...graph.nodes[gemm].outputs, 999] }), /has 2 outputs, and the op gives 1/],
    ['a constant of too few elements', withValue(graph, constantOf(graph), { source: { kind: 'constant', data: [1] } }), /has 1 elements/],
    ['a constant with a symbol', withValue(graph, constantOf(graph), { shape: ['tokens'] }), /the shape of a constant has a symbol/],
    ['a weight with a symbol', withValue(graph, table, { shape: ['tokens', 4] }), /the shape of weight table has a symbol/],
    ['a weight of integers', withValue(graph, table, { dtype: 'i32' }), /weights are f32, not i32/],
    ['an input without a name', withValue(graph, idOf(graph, 'ids'), { source: { kind: 'input', name: '' } }), /has no name/],
    [
      'two inputs of one name',
      withValue(graph, idOf(graph, 'ids'), { source: { kind: 'input', name: 'targets' } }),
      /another value is this input too/,
    ],
    [
      'a weight of two shapes',
      withValue(graph, idOf(graph, 'norm'), { source: { kind: 'weight', name: 'table' } }),
      /it is f32\[4\] here and f32\[9, 4\] before/,
    ],
    ['an output of no value', { ...graph, outputs: new Map([['loss', 999]]) }, /output loss: there is no value 999/],
    ['a mark of no value', { ...graph, marks: new Map([['hidden.0', -1]]) }, /mark hidden.0: there is no value -1/],
    [
      'a value of a node that does not exist',
      withValue(graph, table, { source: { kind: 'node', node: 999, output: 0 } }),
      /value \d+: node 999 does not have it/,
    ],
  ])('catches %s', (_, broken, problem) => {
    expect(() => validateGraph(broken)).toThrow(problem)
  })

  test.each<Dim>([-1, 0.5, NaN, 2 ** 60, '', 'a b', 'tokens*batch', 'batch+tokens', '1*tokens', 'tokens+0', '3', 'tokens+-1', '-1'])(
    'catches the dimension %j',
    (dim) => {
      const builder = newGraph()
      builder.input('x', 'f32', ['tokens', 'batch', dim])
      expect(() => validateGraph(builder.finish())).toThrow(/value 0: .*(no dimension|canonical)/)
    },
  )
  test('passes symbols named after modules', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', ['tokens', 'rank.transformer.h.0.attn.c_attn'])
    builder.output('y', x.reshape(['rank.transformer.h.0.attn.c_attn*tokens']))
    validateGraph(builder.finish())
  })
  test('catches a symbol whose size no input tells', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', ['batch*longest', 4])
    builder.output('y', x.exp())
    expect(() => validateGraph(builder.finish())).toThrow('no input has the dimension batch alone')
    builder.input('slots', 'i32', ['batch', 'longest'])
    validateGraph(builder.finish())
  })

  test('catches every change of a dtype', () => {
    fc.assert(
      fc.property(anyValue, (id) => {
        const { dtype } = graph.values[id]
        expect(() => validateGraph(withValue(graph, id, { dtype: dtype === 'f32' ? 'i32' : 'f32' }))).toThrow(/node \d+|value \d+/)
      }),
    )
  })
  test('catches every change of a shape that a node reads or writes', () => {
    fc.assert(
      fc.property(
        anyValue,
        fc.constantFrom<(shape: readonly Dim[]) => Dim[]>(
          (shape) => [...shape, 1],
          (shape) => [7, ...shape.slice(1)],
          (shape) => [...shape, 'tokens'],
        ),
        (id, change) => {
          const { shape, source } = graph.values[id]
          fc.pre(source.kind === 'node' || used.has(id))
          expect(() => validateGraph(withValue(graph, id, { shape: change(shape) }))).toThrow(/node \d+|value \d+/)
        },
      ),
    )
  })
  test('catches every output id that is another value', () => {
    fc.assert(
      fc.property(anyNode, anyValue, (index, id) => {
        const { outputs } = graph.nodes[index]
        fc.pre(outputs[0] !== id)
        expect(() => validateGraph(withNode(graph, index, { outputs: [id, ...outputs.slice(1)] }))).toThrow(/node \d+/)
      }),
    )
  })
  test('catches every input that is computed by the node itself or later', () => {
    fc.assert(
      fc.property(anyNode, anyNode, (index, later) => {
        fc.pre(later >= index && graph.nodes[index].inputs.length > 0)
        const inputs = [graph.nodes[later].outputs[0], ...graph.nodes[index].inputs.slice(1)]
        expect(() => validateGraph(withNode(graph, index, { inputs }))).toThrow(/is computed later/)
      }),
    )
  })
  test('catches every value or node that is taken out', () => {
    fc.assert(
      fc.property(anyNode, anyValue, (index, id) => {
        expect(() => validateGraph({ ...graph, nodes: graph.nodes.toSpliced(index, 1) })).toThrow(/malformed/)
        fc.pre(graph.values[id].source.kind === 'node' || used.has(id))
        expect(() => validateGraph({ ...graph, values: graph.values.toSpliced(id, 1) })).toThrow(/malformed/)
      }),
    )
  })
})
