/**
 * @file Elementwise sum with broadcasting.
 */
import { defineOp } from '../graph.js'
import { broadcasting } from '../rules.js'

/** y = a + b. a, b: f32, shapes that broadcast (NumPy's rule). */
export const add = defineOp({
  name: 'add',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: (inputs) => broadcasting('add', inputs),
  vjp: ({ a, b, grad }) => ({ a: grad.sumTo(a.shape), b: grad.sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x + y),
})
