/**
 * @file What is added to attention scores so that no token sees a later one.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray, walk } from '../ndarray.js'
import { expectSpec } from '../rules.js'

/** Far below any score, and finite, so that a row of nothing else has no NaN. */
export const MASKED = -1e30

/**
 * y[q, k] = 0 where k <= q + (keys - queries), else MASKED. `size` = [queries, keys]: the queries are the last of the keys. Rows are padded on
 * the right, so this alone also keeps real tokens from seeing padding. y: f32 [queries, keys].
 */
export const causal_mask = defineOp<never, never, { size: readonly Dim[] }>({
  name: 'causal_mask',
  inputs: [],
  cost: 'cheap',
  infer: (_, { size }) => expectSpec('causal_mask', { dtype: 'f32', shape: size }, 'f32', 2),
  vjp: () => ({}),
  reference(_, __, [shape]) {
    const out = NdArray.zeros(shape)
    const earlier = shape[1] - shape[0]
    walk(shape, (position, [query, key]) => {
      if (key > query + earlier) out.data[position] = MASKED
    })
    return out
  },
})
