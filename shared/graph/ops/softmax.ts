/**
 * @file Softmax over the last axis.
 */
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { elementwise, expectAxis } from '../rules.js'

/** y_i = e^(x_i) / sum_j e^(x_j) over the last axis. x: f32 [..., n]. y: the same shape. */
export const softmax = defineOp({
  name: 'softmax',
  inputs: ['x'],
  cost: 'heavy',
  infer({ x }) {
    expectAxis('softmax', x.shape.length - 1, x.shape.length)
    return elementwise('softmax', { x })
  },
  // dx = y (g - sum_j g_j y_j)
  vjp({ x, grad, out }) {
    const weighted = grad.mul(out)
    return { x: weighted.sub(out.mul(weighted.sum([x.shape.length - 1]))) }
  },
  reference({ x }) {
    const columns = x.shape[x.shape.length - 1]
    const out = NdArray.zeros(x.shape)
    for (let start = 0; start < x.data.length; start += columns) {
      const row = x.data.subarray(start, start + columns)
      const highest = row.reduce((a, b) => Math.max(a, b), -Infinity)
      const powers = row.map((v) => Math.exp(v - highest))
      const total = powers.reduce((a, b) => a + b, 0)
      out.data.set(
        powers.map((v) => v / total),
        start,
      )
    }
    return out
  },
})
