/**
 * @file Rows added up by index: the gradient of `gather`.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/** y[j] = sum of x[i] over all i with indices[i] = j. x: f32 [n, d]. indices: i32 [n]. y: f32 [rows, d], zero where nothing lands. */
export const scatter_rows = defineOp<'x' | 'indices', never, { rows: readonly Dim[] }>({
  name: 'scatter_rows',
  inputs: ['x', 'indices'],
  cost: 'heavy',
  infer({ x, indices }, { rows }) {
    expectSpec('scatter_rows: x', x, 'f32', 2)
    expectShape('scatter_rows: indices', expectSpec('scatter_rows: indices', indices, 'i32', 1), [x.shape[0]])
    return { dtype: 'f32', shape: [rows[0], x.shape[1]] }
  },
  vjp: ({ indices, grad }) => ({ x: grad.gather(indices), indices: null }),
  reference({ x, indices }, _, [shape]) {
    const width = shape[1]
    const out = NdArray.zeros(shape)
    indices.data.forEach((index, i) => {
      const row = checkedIndex('scatter_rows', index, shape[0])
      for (let column = 0; column < width; column++) out.data[row * width + column] += x.data[i * width + column]
    })
    return out
  },
})
