/**
 * @file Rows of a table: embeddings, and the scored positions before the head.
 */
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectSpec } from '../rules.js'

/** y[i] = table[indices[i]]. table: f32 [rows, d]. indices: i32 [n], each in 0..rows-1. y: f32 [n, d]. */
export const gather = defineOp({
  name: 'gather',
  inputs: ['table', 'indices'],
  cost: 'cheap',
  infer({ table, indices }) {
    expectSpec('gather: table', table, 'f32', 2)
    expectSpec('gather: indices', indices, 'i32', 1)
    return { dtype: 'f32', shape: [indices.shape[0], table.shape[1]] }
  },
  vjp: ({ table, indices, grad }) => ({ table: grad.scatterRows(indices, table.shape[0]), indices: null }),
  reference({ table, indices }, _, [shape]) {
    const width = shape[1]
    const out = NdArray.zeros(shape)
    indices.data.forEach((index, i) => {
      const row = checkedIndex('gather', index, table.shape[0])
      out.data.set(table.data.subarray(row * width, (row + 1) * width), i * width)
    })
    return out
  },
})
