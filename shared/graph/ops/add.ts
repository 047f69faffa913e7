/**
 * @file Elementwise sum with broadcasting.
 */
import { broadcastShape } from '../dims.js'
import { defineOp } from '../graph.js'

/** y = a + b. a, b: f32, shapes that broadcast (NumPy's rule). */
export const add = defineOp({
  name: 'add',
  inputs: ['a', 'b'],
  cost: 'cheap',
  infer: ({ a, b }) => ({ dtype: 'f32', shape: broadcastShape(a.shape, b.shape) }),
  vjp: ({ a, b, grad }) => ({ a: grad.sumTo(a.shape), b: grad.sumTo(b.shape) }),
  reference: ({ a, b }) => a.zip(b, (x, y) => x + y),
})
