/**
 * @file Elementwise product with broadcasting.
 */
import { broadcastShape } from '../dims.js'
import { defineOp } from '../graph.js'

/** y = a b. a, b: f32, shapes that broadcast. */
export const mul = defineOp({
  name: 'mul',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: ({ a, b }) => ({ dtype: 'f32', shape: broadcastShape(a.shape, b.shape) }),
  vjp: ({ a, b, grad }) => ({ a: grad.mul(b).sumTo(a.shape), b: grad.mul(a).sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x * y),
})
