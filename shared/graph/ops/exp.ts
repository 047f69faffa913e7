/**
 * @file Exponential.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = e^x. x: f32 [...], any shape. y: the same shape. */
export const exp = defineOp({
  name: 'exp',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('exp', inputs),
  vjp: ({ grad, out }) => ({ x: grad.mul(out) }),
  reference: ({ x }) => x.map(Math.exp),
})
