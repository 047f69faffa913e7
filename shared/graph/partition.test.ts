import { expect, test } from 'vitest'
import { graphInputs, type Graph } from './data.js'
import { gradients } from './grad.js'
import { newGraph } from './ops/index.js'
import { partition, type Partition } from './partition.js'
import { compute, normal } from './testing/forward.js'

/** y = tanh(gelu(x w) v), with the gradients of w and v for an upstream gradient dy. */
function twoLayers(): Graph {
  const b = newGraph()
  const x = b.input('x', 'f32', ['tokens', 4])
  const w = b.input('w', 'f32', [4, 6])
  const v = b.input('v', 'f32', [6, 2])
  const y = x.gemm(w).gelu().gemm(v).tanh()
  const [dw, dv] = gradients(b, [[y, b.input('dy', 'f32', ['tokens', 2])]], [w, v])
  b.output('y', y)
  b.output('dw', dw!)
  b.output('dv', dv!)
  return b.finish()
}

const OPTIONS = { forwardOutputs: ['y'], tangents: ['dy'] }
const given = { x: normal([3, 4], 'x'), w: normal([4, 6], 'w'), v: normal([6, 2], 'v'), dy: normal([3, 2], 'dy') }

/** Runs both programs one after the other, each with what it asks for. */
function runParts({ forward, backward, saved }: Partition): Record<string, readonly number[]> {
  const pick = <T>(graph: Graph, from: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries([...graphInputs(graph).keys()].map((name) => [name, from[name]]))
  const early = compute(forward, pick(forward, given))
  const kept = Object.fromEntries(saved.map((name) => [name, early[forward.outputs.get(name)!]]))
  const late = compute(backward, pick(backward, { ...given, ...kept }))
  const y = early[forward.outputs.get('y')!]
  return { y: [...y.data], ...Object.fromEntries([...backward.outputs].map(([name, id]) => [name, [...late[id].data]])) }
}

test.each([false, true])('both programs together compute what the joint graph does (recomputing all: %s)', (recomputeAll) => {
  const joint = twoLayers()
  const values = compute(joint, given)
  const expected = Object.fromEntries([...joint.outputs].map(([name, id]) => [name, [...values[id].data]]))
  expect(runParts(partition(joint, { ...OPTIONS, recomputeAll }))).toEqual(expected)
})

test('the forward program needs nothing that is known only after it', () => {
  const { forward, backward } = partition(twoLayers(), OPTIONS)
  expect([...graphInputs(forward).keys()]).not.toContain('dy')
  expect([...backward.outputs.keys()]).toEqual(['dw', 'dv'])
})

test('products are kept, and what is cheap to compute from them is not', () => {
  const { forward, saved } = partition(twoLayers(), OPTIONS)
  const kept = saved.map((name) => forward.values[forward.outputs.get(name)!].source)
  const ops = kept.map((source) => (source.kind === 'node' ? forward.nodes[source.node].op : source.kind))
  // x w, from which gelu is computed again; and one value of y's size, from which tanh's slope follows.
  expect(ops).toHaveLength(2)
  expect(ops[0]).toBe('gemm')
  expect(ops).not.toContain('gelu')
})

test('with everything recomputed nothing is kept', () => {
  const { forward, saved } = partition(twoLayers(), { ...OPTIONS, recomputeAll: true })
  expect(saved).toEqual([])
  expect([...forward.outputs.keys()]).toEqual(['y'])
})
