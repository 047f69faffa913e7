/**
 * @file What is added to attention scores so that no token sees a later one.
 */
import { unreachable } from '../../errors.js'
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray, walk } from '../ndarray.js'
import { expectSpec } from '../rules.js'

/** Far below any score, and finite, so that a row of nothing else has no NaN. */
export const MASKED = -1e30

/**
 * y[q, k] = 0 where k <= q + (keys - queries), else MASKED. `size` = [queries, keys]: the queries are the last of the keys. With a `window`, a
 * token sees itself and the window - 1 before it; 0: all before it. Rows are padded on the right, so this alone also keeps real tokens from
 * seeing padding. y: f32 [queries, keys].
 */
export const causal_mask = defineOp<never, never, { size: readonly Dim[]; window: number }>({
  name: 'causal_mask',
  inputs: [],
  cost: 'cheap',
  infer(_, { size, window }) {
    if (!Number.isInteger(window) || window < 0) return unreachable(`causal_mask: a window of ${window} tokens`)
    return expectSpec('causal_mask', { dtype: 'f32', shape: size }, 'f32', 2)
  },
  vjp: () => ({}),
  reference(_, { window }, [shape]) {
    const out = NdArray.zeros(shape)
    const earlier = shape[1] - shape[0]
    walk(shape, (position, [query, key]) => {
      const ahead = key - (query + earlier)
      if (ahead > 0 || (window > 0 && ahead <= -window)) out.data[position] = MASKED
    })
    return out
  },
})
