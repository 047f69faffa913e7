/**
 * @file Elementwise product with broadcasting.
 */
import { defineOp } from '../graph.js'
import { broadcasting } from '../rules.js'

/** y = a b. a, b: f32, shapes that broadcast. */
export const mul = defineOp({
  name: 'mul',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: (inputs) => broadcasting('mul', inputs),
  vjp: ({ a, b, grad }) => ({ a: grad.mul(b).sumTo(a.shape), b: grad.mul(a).sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x * y),
})
