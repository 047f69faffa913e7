/**
 * @file Rows of a table: embeddings, and the scored positions before the head.
 */
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'

/** y[i] = table[indices[i]]. table: f32 [rows, d]. indices: i32 [n], each in 0..rows-1. y: f32 [n, d]. */
export const gather = defineOp({
  name: 'gather',
  inputs: ['table', 'indices'],
  cost: 'cheap',
  infer: ({ table, indices }) => ({ dtype: 'f32', shape: [indices.shape[0]!, table.shape[1]!] }),
  vjp: ({ table, indices, grad }) => ({ table: grad.scatterRows(indices, table.shape[0]!), indices: null }),
  reference({ table, indices }, _, [shape]) {
    const width = shape![1]!
    const out = NdArray.zeros(shape!)
    indices.data.forEach((row, i) => out.data.set(table.data.subarray(row * width, (row + 1) * width), i * width))
    return out
  },
})
