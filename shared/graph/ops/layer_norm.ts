/**
 * @file Layer normalisation over the last axis.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * y = (x - mean) / sqrt(variance + epsilon) * weight + bias, mean and (biased) variance over the last axis.
 * x: f32 [n, d]. weight, bias: f32 [d]. Outputs: y f32 [n, d]; mean f32 [n, 1]; inverse deviation f32 [n, 1].
 * Source: Ba et al. 2016, arXiv:1607.06450.
 */
export const layer_norm = defineOp<'x' | 'weight' | 'bias', never, { epsilon: number }>({
  name: 'layer_norm',
  inputs: ['x', 'weight', 'bias'],
  cost: 'cheap',
  infer({ x, weight, bias }) {
    const [rows, columns] = expectSpec('layer_norm: x', x, 'f32', 2).shape
    if (typeof columns !== 'number') return unreachable(`layer_norm: the width is ${columns}, and must be an integer`)
    for (const each of [weight, bias])
      expectShape('layer_norm: weight and bias', expectSpec('layer_norm: weight and bias', each, 'f32'), [columns])
    const column = { dtype: 'f32' as const, shape: [rows, 1] }
    return [x, column, column]
  },
  // dx = inv (h - mean(h) - xhat mean(h xhat)), where h = grad * weight; d mean/dx = 1/d; d inv/dx = -inv^2 xhat / d.
  vjp({ x, weight, grad, grads: [, meanGrad, inverseGrad], outs: [, mean, inverse] }) {
    const columns = x.shape[1] as number
    const normal = x.sub(mean).mul(inverse)
    const h = grad.mul(weight)
    const along = h.mul(normal).sum([1]).div(columns)
    let dx = h
      .sub(h.sum([1]).div(columns))
      .sub(normal.mul(along))
      .mul(inverse)
    if (meanGrad) dx = dx.add(meanGrad.div(columns))
    if (inverseGrad) dx = dx.sub(normal.mul(inverseGrad.mul(inverse.square()).div(columns)))
    return { x: dx, weight: grad.mul(normal).sumTo(weight.shape), bias: grad.sumTo(weight.shape) }
  },
  reference({ x, weight, bias }, { epsilon }, [shape, column]) {
    const [rows, columns] = shape as readonly [number, number]
    const [y, means, inverses] = [NdArray.zeros(shape), NdArray.zeros(column), NdArray.zeros(column)]
    for (let row = 0; row < rows; row++) {
      const values = x.data.subarray(row * columns, (row + 1) * columns)
      const mean = values.reduce((a, b) => a + b, 0) / columns
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / columns
      const inverse = 1 / Math.sqrt(variance + epsilon)
      means.data[row] = mean
      inverses.data[row] = inverse
      for (let i = 0; i < columns; i++) y.data[row * columns + i] = (values[i] - mean) * inverse * weight.data[i] + bias.data[i]
    }
    return [y, means, inverses]
  },
})
