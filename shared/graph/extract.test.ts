import { describe, expect, test } from 'vitest'
import { graphInputs, graphWeights } from './data.js'
import { extract } from './extract.js'
import { newGraph } from './ops/index.js'
import { compute, expectArray, f64 } from './testing/forward.js'
import { validateGraph } from './validate.js'

/** y = tanh(exp(x)) + w . split halves, with a mark in the middle and a branch that y does not need. */
function example() {
  const builder = newGraph()
  const x = builder.input('x', 'f32', ['tokens', 4])
  const unused = builder.input('unused', 'f32', ['tokens', 4])
  const middle = x.exp()
  const [left, right] = middle.split(1, 2)
  const y = left.mul(right).add(2)
  builder.output('y', y)
  builder.output('branch', unused.add(builder.weight('w', [4])))
  builder.mark('middle', middle)
  builder.mark('branch', unused)
  return { graph: builder.finish(), middle, left: left, right: right, y, x }
}
const given = f64([1, 4], [0, 1, 2, 3])
const expected = [Math.exp(2) + 2, Math.exp(4) + 2]

describe('extract', () => {
  test('keeps the nodes that its outputs need, and no others', () => {
    const { graph, y } = example()
    const part = extract(graph, new Map([['out', y.id]]))
    validateGraph(part)
    expect(part.nodes.map(({ op }) => op)).toEqual(['exp', 'split', 'mul', 'add'])
    expect([...graphInputs(part).keys()]).toEqual(['x'])
    expect([...graphWeights(part)]).toEqual([])
    expect([...part.marks.keys()]).toEqual(['middle'])
    expectArray(compute(part, { x: given })[part.outputs.get('out')!], [1, 2], expected, 1e-12)
  })
  test('reads given values from inputs, and computes nothing below them', () => {
    const { graph, y, middle } = example()
    const part = extract(graph, new Map([['out', y.id]]), new Map([[middle.id, 'hidden']]))
    validateGraph(part)
    expect(part.nodes.map(({ op }) => op)).toEqual(['split', 'mul', 'add'])
    expect([...graphInputs(part)]).toEqual([['hidden', { dtype: 'f32', shape: ['tokens', 4] }]])
    expectArray(compute(part, { hidden: given.map(Math.exp) })[part.outputs.get('out')!], [1, 2], expected, 1e-12)
  })
  test('reads a given value from its input even where its node runs for a sibling', () => {
    const { graph, y, left } = example()
    const part = extract(graph, new Map([['out', y.id]]), new Map([[left.id, 'left']]))
    validateGraph(part)
    expect([...graphInputs(part).keys()].sort()).toEqual(['left', 'x'])
    const inputs = { x: given, left: f64([1, 2], [10, 100]) }
    expectArray(compute(part, inputs)[part.outputs.get('out')!], [1, 2], [10 * Math.exp(2) + 2, 100 * Math.exp(3) + 2], 1e-10)
  })
  test('passes a given value or an input through as an output', () => {
    const { graph, middle, x } = example()
    const part = extract(
      graph,
      new Map([
        ['hidden', middle.id],
        ['x', x.id],
      ]),
      new Map([[middle.id, 'saved']]),
    )
    validateGraph(part)
    expect(part.nodes).toEqual([])
    expect([...graphInputs(part).keys()]).toEqual(['saved', 'x'])
  })
  test('makes two parts that compute what the whole does', () => {
    const { graph, y, middle } = example()
    const bottom = extract(graph, new Map([['hidden', middle.id]]))
    const top = extract(graph, new Map([['y', y.id]]), new Map([[middle.id, 'hidden']]))
    const hidden = compute(bottom, { x: given })[bottom.outputs.get('hidden')!]
    expectArray(compute(top, { hidden })[top.outputs.get('y')!], [1, 2], expected, 1e-12)
  })
  test('leaves the graph it came from alone', () => {
    const { graph, y, middle } = example()
    const before = structuredClone(graph)
    extract(graph, new Map([['out', y.id]]), new Map([[middle.id, 'hidden']]))
    expect(graph).toEqual(before)
  })
})
