/**
 * @file Elementwise quotient with broadcasting.
 */
import { defineOp } from '../graph.js'
import { broadcasting } from '../rules.js'

/** y = a / b. a, b: f32, shapes that broadcast. */
export const div = defineOp({
  name: 'div',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: (inputs) => broadcasting('div', inputs),
  // d(a/b)/db = -(a/b) / b
  vjp: ({ a, b, grad, out }) => ({ a: grad.div(b).sumTo(a.shape), b: grad.mul(out).div(b).neg().sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x / y),
})
