/**
 * @file Linear head and cross-entropy in one op, so that no one-hot and only one softmax is made.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'
import { product } from './matmul.js'
import { softmax } from './softmax.js'

/**
 * logits = hidden weight^T; nll_i = logSumExp_i - logits[i, targets_i], in nats.
 * hidden: f32 [n, d]. weight: f32 [vocabulary, d]. targets: i32 [n].
 * Outputs: nll f32 [n]; logSumExp f32 [n]; slope f32 [n, vocabulary], dnll/dlogits: softmax of the logits, less 1 at the target.
 *
 * Gradient into hidden, for upstream g of nll and s of logSumExp: (g + s) slope W + s W[target]: rows are scaled after the product, when they
 * are d wide and not vocabulary wide. The 1 is taken off before it: where the model is sure, the slope is small, and so is then the rounding
 * of its product. Label smoothing e uses g = 1 - e and s = e, and adds -e mean_v W[v] outside.
 */
export const cross_entropy_head = defineOp({
  name: 'cross_entropy_head',
  inputs: ['hidden', 'weight', 'targets'],
  cost: 'heavy',
  infer({ hidden, weight, targets }) {
    const [rows, width] = expectSpec('cross_entropy_head: hidden', hidden, 'f32', 2).shape as [Dim, Dim]
    expectShape('cross_entropy_head: weight', expectSpec('cross_entropy_head: weight', weight, 'f32', 2), [weight.shape[0], width])
    expectShape('cross_entropy_head: targets', expectSpec('cross_entropy_head: targets', targets, 'i32', 1), [rows])
    const column = { dtype: 'f32' as const, shape: [rows] }
    return [column, column, { dtype: 'f32' as const, shape: [rows, weight.shape[0]] }]
  },
  vjp({ hidden, weight, targets, grads: [nll, logSumExp, slopeGrad], outs: [, , slope] }) {
    if (slopeGrad) throw new Error('cross_entropy_head: the slope is not differentiable')
    const rows = hidden.shape[0]
    const s = logSumExp?.reshape([rows, 1])
    const both = (nll && logSumExp ? nll.add(logSumExp) : (nll ?? logSumExp!)).reshape([rows, 1])
    const through = slope.gemm(weight).mul(both)
    const throughWeight = slope.gemm(hidden.mul(both), { transposeA: true })
    return {
      hidden: s ? through.add(weight.gather(targets).mul(s)) : through,
      weight: s ? throughWeight.add(hidden.mul(s).scatterRows(targets, weight.shape[0])) : throughWeight,
      targets: null,
    }
  },
  reference({ hidden, weight, targets }, _, [column, , square]) {
    const logits = product(hidden, weight, false, true, square)
    const slope = softmax.reference({ x: logits }, {}, [square]) as NdArray
    const [nll, logSumExp] = [NdArray.zeros(column), NdArray.zeros(column)]
    const columns = square[1]
    for (let row = 0; row < square[0]; row++) {
      const values = logits.data.subarray(row * columns, (row + 1) * columns)
      const highest = values.reduce((a, b) => Math.max(a, b), -Infinity)
      logSumExp.data[row] = highest + Math.log(values.reduce((a, b) => a + Math.exp(b - highest), 0))
      const target = checkedIndex('cross_entropy_head', targets.data[row], columns)
      nll.data[row] = logSumExp.data[row] - values[target]
      slope.data[row * columns + target] -= 1
    }
    return [nll, logSumExp, slope]
  },
})
