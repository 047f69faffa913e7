/**
 * @file Rows added up by index: the gradient of `gather`.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'

/** y[j] = sum of x[i] over all i with indices[i] = j. x: f32 [n, d]. indices: i32 [n]. y: f32 [rows, d], zero where nothing lands. */
export const scatter_rows = defineOp<'x' | 'indices', never, { rows: readonly Dim[] }>({
  name: 'scatter_rows',
  inputs: ['x', 'indices'],
  cost: 'heavy',
  infer: ({ x }, { rows }) => ({ dtype: 'f32', shape: [rows[0]!, x.shape[1]!] }),
  vjp: ({ indices, grad }) => ({ x: grad.gather(indices), indices: null }),
  reference({ x, indices }, _, [shape]) {
    const width = shape![1]!
    const out = NdArray.zeros(shape!)
    indices.data.forEach((row, i) => {
      for (let column = 0; column < width; column++) out.data[row * width + column]! += x.data[i * width + column]!
    })
    return out
  },
})
