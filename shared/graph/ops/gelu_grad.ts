/**
 * @file Gradient of the tanh GELU as one op, because a backend computes it in fewer passes than its eight factors take.
 */
import { defineOp } from '../graph.js'
import { elementwise, expectShape, expectSpec } from '../rules.js'
import { CUBIC, SCALE } from './gelu.js'

/**
 * y = grad * (0.5 (1 + t) + 0.5 x (1 - t^2) u'), where t = tanh u, u = SCALE (x + CUBIC x^3), u' = SCALE (1 + 3 CUBIC x^2).
 * x, grad: f32 [...], one shape. y: the same shape.
 */
export const gelu_grad = defineOp({
  name: 'gelu_grad',
  inputs: ['x', 'upstream'],
  cost: 'cheap',
  infer({ x, upstream }) {
    expectShape('gelu_grad: upstream', expectSpec('gelu_grad: upstream', upstream, 'f32'), x.shape)
    return elementwise('gelu_grad', { x })
  },
  // d2/dx2 = (1 - t^2) (u' - x t u'^2 + 0.5 x u''), with u'' = 6 SCALE CUBIC x; linear in `upstream`.
  vjp({ x, upstream, grad }) {
    const t = x.add(x.square().mul(x).mul(CUBIC)).mul(SCALE).tanh()
    const du = x
      .square()
      .mul(3 * CUBIC)
      .add(1)
      .mul(SCALE)
    const ddu = x.mul(6 * SCALE * CUBIC)
    const curve = t
      .square()
      .neg()
      .add(1)
      .mul(du.sub(x.mul(t).mul(du.square())).add(x.mul(ddu).mul(0.5)))
    return { x: grad.mul(upstream).mul(curve), upstream: x.builder.apply('gelu_grad', [x, grad])[0] }
  },
  reference: ({ x, upstream }) =>
    x.zip(upstream, (v, g) => {
      const t = Math.tanh(SCALE * (v + CUBIC * v ** 3))
      return g * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * SCALE * (1 + 3 * CUBIC * v * v))
    }),
})
