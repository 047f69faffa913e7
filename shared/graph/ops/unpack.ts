/**
 * @file From packed tokens to one slot per row and position, as attention needs them.
 *
 * Everything but attention works on packed tokens, so no padding is ever multiplied, kept or sent.
 */
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * y[b, t] = x[slots[b, t]], and 0 where the slot is -1 (padding).
 * x: f32 [tokens, d]. slots: i32 [batch, longest]. places: i32 [tokens], the flat slot b * longest + t of each token, the
 * inverse of slots. y: f32 [batch, longest, d].
 */
export const unpack = defineOp({
  name: 'unpack',
  inputs: ['x', 'slots', 'places'],
  cost: 'cheap',
  infer({ x, slots, places }) {
    expectSpec('unpack: x', x, 'f32', 2)
    expectSpec('unpack: slots', slots, 'i32', 2)
    expectShape('unpack: places', expectSpec('unpack: places', places, 'i32', 1), [x.shape[0]])
    return { dtype: 'f32', shape: [...slots.shape, x.shape[1]] }
  },
  vjp: ({ slots, places, grad }) => ({ x: grad.pack(slots, places), slots: null, places: null }),
  reference({ x, places }, _, [shape]) {
    const width = shape[2]
    const out = NdArray.zeros(shape)
    places.data.forEach((place, token) => {
      const slot = checkedIndex('unpack', place, shape[0] * shape[1])
      out.data.set(x.data.subarray(token * width, (token + 1) * width), slot * width)
    })
    return out
  },
})
