import { describe, expect, test } from 'vitest'
import type { Graph } from './data.js'
import { newGraph } from './ops/index.js'
import { printGraph } from './print.js'
import { replay } from './replay.js'
import { compute, expectArray, f64 } from './testing/forward.js'
import { validateGraph } from './validate.js'

function example(): Graph {
  const builder = newGraph()
  const x = builder.input('x', 'f32', ['tokens', 2])
  const hidden = x.gemm(builder.weight('w', [2, 4]), { add: builder.constant([1, 2, 3, 4], [4]) }).gelu()
  const [left, right] = hidden.split(1, 2)
  builder.mark('hidden', hidden)
  builder.output('y', left.mul(right))
  return builder.finish()
}

describe('replay', () => {
  test('copies a graph with its outputs and marks', () => {
    const graph = example()
    const builder = newGraph()
    replay(graph, builder)
    expect(printGraph(builder.finish())).toBe(printGraph(graph))
  })
  test('tells where old values and outputs went, after what the builder held before', () => {
    const graph = example()
    const builder = newGraph()
    builder.input('earlier', 'f32', ['tokens'])
    const { at, output } = replay(graph, builder)
    expect(at(graph.marks.get('hidden')!).id).toBe(builder.marks.get('hidden'))
    expect(at(graph.marks.get('hidden')!).id).not.toBe(graph.marks.get('hidden'))
    expect(output('y').id).toBe(builder.outputs.get('y'))
    validateGraph(builder.finish())
  })
  test('puts rewritten nodes in place of old ones, everywhere they are used', () => {
    const graph = example()
    const builder = newGraph()
    const seen: string[] = []
    replay(graph, builder, (node, inputs) => {
      seen.push(node.op)
      return node.op === 'gelu' ? [inputs[0]!.relu().add(1)] : null
    })
    const rewritten = builder.finish()
    validateGraph(rewritten)
    expect(seen).toEqual(['gemm', 'gelu', 'split', 'mul'])
    expect(rewritten.nodes.map(({ op }) => op)).toEqual(['gemm', 'relu', 'add', 'split', 'mul'])
    expect(rewritten.values[rewritten.marks.get('hidden')!].source).toMatchObject({ kind: 'node', node: 2 })
  })
  test('lets a pass go on from where the graph ended', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', [2])
    builder.output('y', x.exp())
    const next = newGraph()
    next.output('z', replay(builder.finish(), next).output('y').log())
    const given = f64([2], [3, 4])
    expectArray(compute(next.finish(), { x: given })[next.outputs.get('z')!], [2], [3, 4], 1e-12)
  })
  test('shares what two graphs have in common', () => {
    const graph = example()
    const builder = newGraph()
    replay(graph, builder)
    const nodes = builder.nodes.length
    replay(graph, builder)
    expect(builder.nodes).toHaveLength(nodes)
  })
  test('refuses a graph that uses a value before it is computed', () => {
    const graph = example()
    expect(() => replay({ ...graph, nodes: graph.nodes.toReversed() }, newGraph())).toThrow(/is used before it is computed/)
  })
})
