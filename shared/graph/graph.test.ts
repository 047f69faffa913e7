import { describe, expect, test } from 'vitest'
import { graphInputs, graphWeights } from './data.js'
import { byName, findOp } from './graph.js'
import { newGraph, ops } from './ops/index.js'

describe('a builder', () => {
  test('builds equal nodes once, and nodes that differ in op, input or attribute apart', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', [2, 2])
    expect(x.exp().id).toBe(x.exp().id)
    expect(x.add(1).id).toBe(x.add(1).id)
    expect(new Set([x.exp(), x.log(), x.exp().exp(), x.sum([0]), x.sum([1])].map(({ id }) => id)).size).toBe(5)
    expect(x.split(0, 2).map(({ id }) => id)).toEqual(x.split(0, 2).map(({ id }) => id))
    expect(graph.nodes).toHaveLength(7)
  })
  test('takes an absent optional input for the same, however it is left out', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', [2, 2])
    const attributes = { transposeA: false, transposeB: false }
    const ids = [
      [x, x],
      [x, x, null],
      [x, x, undefined],
    ].map((inputs) => graph.apply('gemm', inputs, attributes)[0].id)
    expect(new Set(ids).size).toBe(1)
    expect(graph.nodes[0].inputs).toEqual([x.id, x.id, null])
  })
  test('keeps operands in their order', () => {
    const graph = newGraph()
    const [x, y] = [graph.input('x', 'f32', []), graph.input('y', 'f32', [])]
    expect(x.sub(y).id).not.toBe(y.sub(x).id)
  })
  test('makes one value of an input or weight that is asked for twice', () => {
    const graph = newGraph()
    expect(graph.input('x', 'f32', [2]).id).toBe(graph.input('x', 'f32', [2]).id)
    expect(graph.weight('x', [2]).id).toBe(graph.weight('x', [2]).id)
    expect(graph.input('x', 'f32', [2]).id).not.toBe(graph.weight('x', [2]).id)
  })
  test('makes one value of equal constants, and tells zeros, infinities and shapes apart', () => {
    const graph = newGraph()
    expect(graph.constant(2).id).toBe(graph.constant([2]).id)
    const different = [graph.constant(0), graph.constant(-0), graph.constant(Infinity), graph.constant(-Infinity), graph.constant([0], [1])]
    expect(new Set(different.map(({ id }) => id)).size).toBe(5)
    expect(graph.values[different[2].id].source).toEqual({ kind: 'constant', data: [Infinity] })
  })
  test('refuses an unknown op, a missing input, one too many, and a value of another graph', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', [2])
    expect(() => graph.apply('cosine', [x])).toThrow('no op called cosine')
    expect(() => graph.apply('toString', [x])).toThrow('no op called toString')
    expect(() => graph.apply('add', [x])).toThrow('op add lacks its input b')
    expect(() => graph.apply('exp', [x, x])).toThrow('exp takes 1 inputs, not 2')
    expect(() => x.add(newGraph().input('x', 'f32', [2]))).toThrow('add was given a value of another graph')
    expect(() => graph.value(99)).toThrow('no value 99')
  })
  test('finishes a graph that later nodes do not change', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', [2])
    builder.output('y', x.exp())
    builder.mark('half', x)
    const graph = builder.finish()
    builder.output('z', x.log())
    builder.mark('other', x)
    expect(graph.nodes).toHaveLength(1)
    expect([...graph.outputs.keys()]).toEqual(['y'])
    expect([...graph.marks]).toEqual([['half', x.id]])
  })
})

describe('a graph', () => {
  test('names what a run and the weight store must give, in order of appearance', () => {
    const builder = newGraph()
    builder.weight('w', [3])
    builder.input('ids', 'i32', ['tokens'])
    builder.input('x', 'f32', ['tokens', 3])
    const graph = builder.finish()
    expect([...graphInputs(graph)]).toEqual([
      ['ids', { dtype: 'i32', shape: ['tokens'] }],
      ['x', { dtype: 'f32', shape: ['tokens', 3] }],
    ])
    expect([...graphWeights(graph)]).toEqual([['w', { dtype: 'f32', shape: [3] }]])
  })
})

describe('byName', () => {
  test('pairs names with positions and leaves absent optional inputs out', () => {
    const gemm = findOp(ops, 'gemm')
    expect(byName(gemm, ['x', 'y', null])).toEqual({ a: 'x', b: 'y' })
    expect(byName(gemm, ['x', 'y', 'z'])).toEqual({ a: 'x', b: 'y', add: 'z' })
    expect(() => byName(gemm, ['x', null])).toThrow('op gemm lacks its input b')
  })
})
