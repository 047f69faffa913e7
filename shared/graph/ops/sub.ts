/**
 * @file Elementwise difference with broadcasting.
 */
import { defineOp } from '../graph.js'
import { broadcasting } from '../rules.js'

/** y = a - b. a, b: f32, shapes that broadcast. */
export const sub = defineOp({
  name: 'sub',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: (inputs) => broadcasting('sub', inputs),
  vjp: ({ a, b, grad }) => ({ a: grad.sumTo(a.shape), b: grad.neg().sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x - y),
})
