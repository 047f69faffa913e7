/**
 * @file Square root.
 */
import { defineOp } from '../graph.js'

/** y = sqrt(x), x >= 0. x: f32 [...], any shape. y: the same shape. */
export const sqrt = defineOp({
  name: 'sqrt',
  inputs: ['x'],
  cost: 'cheap',
  infer: ({ x }) => x,
  vjp: ({ grad, out }) => ({ x: grad.div(out).mul(0.5) }),
  reference: ({ x }) => x.map(Math.sqrt),
})
