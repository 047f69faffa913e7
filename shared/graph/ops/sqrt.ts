/**
 * @file Square root.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = sqrt(x), x >= 0. x: f32 [...], any shape. y: the same shape. */
export const sqrt = defineOp({
  name: 'sqrt',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('sqrt', inputs),
  vjp: ({ grad, out }) => ({ x: grad.div(out).mul(0.5) }),
  reference: ({ x }) => x.map(Math.sqrt),
})
