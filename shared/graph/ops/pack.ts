/**
 * @file From slots back to packed tokens; the inverse of `unpack` on real tokens.
 */
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * y[i] = x at flat slot places[i]; padding slots are left out.
 * x: f32 [batch, longest, d]. slots, places: as in `unpack`. y: f32 [tokens, d].
 */
export const pack = defineOp({
  name: 'pack',
  inputs: ['x', 'slots', 'places'],
  cost: 'cheap',
  infer({ x, slots, places }) {
    expectSpec('pack: x', x, 'f32', 3)
    expectShape('pack: slots', expectSpec('pack: slots', slots, 'i32', 2), x.shape.slice(0, 2))
    expectSpec('pack: places', places, 'i32', 1)
    return { dtype: 'f32', shape: [places.shape[0], x.shape[2]] }
  },
  vjp: ({ slots, places, grad }) => ({ x: grad.unpack(slots, places), slots: null, places: null }),
  reference({ x, places }, _, [shape]) {
    const width = shape[1]
    const out = NdArray.zeros(shape)
    places.data.forEach((place, token) => {
      const slot = checkedIndex('pack', place, x.shape[0] * x.shape[1])
      out.data.set(x.data.subarray(slot * width, (slot + 1) * width), token * width)
    })
    return out
  },
})
