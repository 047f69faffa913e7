/**
 * @file Sum over axes, which stay as axes of 1.
 */
import { defineOp } from '../graph.js'
import { expectAxis, expectSpec } from '../rules.js'

/** y = sum of x over `axes`. x: f32 [...]. y: the same rank, 1 at each of `axes`. */
export const sum = defineOp<'x', never, { axes: readonly number[] }>({
  name: 'sum',
  inputs: ['x'],
  cost: 'cheap',
  infer({ x }, { axes }) {
    expectSpec('sum: x', x, 'f32')
    for (const axis of axes) expectAxis('sum', axis, x.shape.length)
    return { dtype: 'f32', shape: x.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)) }
  },
  vjp: ({ x, grad }) => ({ x: grad.broadcastTo(x.shape) }),
  reference: ({ x }, _, [shape]) => x.sumTo(shape),
})
