/**
 * @file Hyperbolic tangent.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = tanh x. x: f32 [...], any shape. y: the same shape. */
export const tanh = defineOp({
  name: 'tanh',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('tanh', inputs),
  vjp: ({ grad, out }) => ({ x: grad.mul(out.square().neg().add(1)) }),
  reference: ({ x }) => x.map(Math.tanh),
})
