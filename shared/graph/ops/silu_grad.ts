/**
 * @file Gradient of SiLU as one op, because a backend computes it in fewer passes than its factors take.
 */
import { defineOp } from '../graph.js'
import { elementwise, expectShape, expectSpec } from '../rules.js'
import { sigmoid } from './silu.js'

/**
 * y = upstream * s (1 + x (1 - s)), where s = sigmoid(x).
 * x, upstream: f32 [...], one shape. y: the same shape.
 */
export const silu_grad = defineOp({
  name: 'silu_grad',
  inputs: ['x', 'upstream'],
  cost: 'cheap',
  infer({ x, upstream }) {
    expectShape('silu_grad: upstream', expectSpec('silu_grad: upstream', upstream, 'f32'), x.shape)
    return elementwise('silu_grad', { x })
  },
  // s' = s (1 - s), so the second derivative of x s is s (1 - s) (2 + x (1 - 2 s)). With t = tanh(x / 2), s = (1 + t) / 2: s (1 - s) = (1 - t^2) / 4.
  vjp({ x, upstream, grad }) {
    const t = x.mul(0.5).tanh()
    const curve = t.square().neg().add(1).mul(0.25).mul(x.mul(t).neg().add(2))
    return { x: grad.mul(upstream).mul(curve), upstream: x.builder.apply('silu_grad', [x, grad])[0] }
  },
  reference: ({ x, upstream }) =>
    x.zip(upstream, (v, g) => {
      const s = sigmoid(v)
      return g * s * (1 + v * (1 - s))
    }),
})
