/**
 * @file Root-mean-square normalisation over the last axis.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * y = x / sqrt(mean(x^2) + epsilon) * weight, the mean over the last axis.
 * x: f32 [n, d]. weight: f32 [d]. Outputs: y f32 [n, d]; inverse root f32 [n, 1].
 * Source: Zhang & Sennrich 2019, arXiv:1910.07467.
 */
export const rms_norm = defineOp<'x' | 'weight', never, { epsilon: number }>({
  name: 'rms_norm',
  inputs: ['x', 'weight'],
  cost: 'cheap',
  infer({ x, weight }) {
    const [rows, columns] = expectSpec('rms_norm: x', x, 'f32', 2).shape
    if (typeof columns !== 'number') return unreachable(`rms_norm: the width is ${columns}, and must be an integer`)
    expectShape('rms_norm: weight', expectSpec('rms_norm: weight', weight, 'f32'), [columns])
    return [x, { dtype: 'f32', shape: [rows, 1] }]
  },
  // dx = inv (h - xhat mean(h xhat)), where xhat = x inv and h = grad * weight; d inv/dx = -inv^2 xhat / d.
  vjp({ x, weight, grad, grads: [, inverseGrad], outs: [, inverse] }) {
    const columns = x.shape[1] as number
    const normal = x.mul(inverse)
    const h = grad.mul(weight)
    const along = h.mul(normal).sum([1]).div(columns)
    const dx = h.sub(normal.mul(along)).mul(inverse)
    const more = inverseGrad && normal.mul(inverseGrad.mul(inverse.square()).div(columns))
    return { x: more ? dx.sub(more) : dx, weight: grad.mul(normal).sumTo(weight.shape) }
  },
  reference({ x, weight }, { epsilon }, [shape, column]) {
    const [rows, columns] = shape as readonly [number, number]
    const [y, inverses] = [NdArray.zeros(shape), NdArray.zeros(column)]
    for (let row = 0; row < rows; row++) {
      const values = x.data.subarray(row * columns, (row + 1) * columns)
      const inverse = 1 / Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / columns + epsilon)
      inverses.data[row] = inverse
      for (let i = 0; i < columns; i++) y.data[row * columns + i] = values[i] * inverse * weight.data[i]
    }
    return [y, inverses]
  },
})
