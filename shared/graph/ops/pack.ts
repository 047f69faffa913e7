/**
 * @file From slots back to packed tokens; the inverse of `unpack` on real tokens.
 */
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'

/**
 * y[i] = x at flat slot places[i]; padding slots are left out.
 * x: f32 [batch, longest, d]. slots, places: as in `unpack`. y: f32 [tokens, d].
 */
export const pack = defineOp({
  name: 'pack',
  inputs: ['x', 'slots', 'places'],
  cost: 'cheap',
  infer: ({ x, places }) => ({ dtype: 'f32', shape: [places.shape[0]!, x.shape[2]!] }),
  vjp: ({ slots, places, grad }) => ({ x: grad.unpack(slots, places), slots: null, places: null }),
  reference({ x, places }, _, [shape]) {
    const width = shape![1]!
    const out = NdArray.zeros(shape!)
    places.data.forEach((slot, token) => out.data.set(x.data.subarray(slot * width, (slot + 1) * width), token * width))
    return out
  },
})
