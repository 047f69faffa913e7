/**
 * @file From one matrix for each row and head back to packed tokens; the inverse of `to_heads` on real tokens.
 */
import { defineOp } from '../graph.js'
import { checkedIndex, NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * y[i, (p heads + h) size + j] = x_p[b, h, t, j], where x_0, x_1 and x_2 are a, b and c, and b * longest + t = places[i]; padding slots are
 * left out. a, b, c: f32 [batch, heads, longest, size]. slots, places: as in `to_heads`. y: f32 [tokens, parts * heads * size].
 */
export const from_heads = defineOp({
  name: 'from_heads',
  inputs: ['a', 'slots', 'places'],
  optional: ['b', 'c'],
  cost: 'cheap',
  infer({ a, slots, places, b, c }) {
    const [batch, heads, longest, size] = expectSpec('from_heads: a', a, 'f32', 4).shape
    for (const part of [b, c]) if (part) expectShape('from_heads: each part', expectSpec('from_heads: each part', part, 'f32'), a.shape)
    expectShape('from_heads: slots', expectSpec('from_heads: slots', slots, 'i32', 2), [batch, longest])
    expectSpec('from_heads: places', places, 'i32', 1)
    const parts = [a, b, c].filter((part) => part).length
    return { dtype: 'f32', shape: [places.shape[0], parts * (heads as number) * (size as number)] }
  },
  vjp({ a, slots, places, b, c, grad }) {
    const heads = a.shape[1] as number
    const slices = grad.toHeads(slots, places, { heads, parts: [a, b, c].filter((part) => part).length })
    return { a: slices[0], slots: null, places: null, ...(b ? { b: slices[1] } : {}), ...(c ? { c: slices[2] } : {}) }
  },
  reference({ a, places, b, c }, _, [shape]) {
    const parts = [a, ...(b ? [b] : []), ...(c ? [c] : [])]
    const out = NdArray.zeros(shape)
    walkHeads('from_heads', places, a.shape, parts.length, (part, at, to) => (out.data[to] = parts[part].data[at]))
    return out
  },
})

/**
 * Visits every number of the real tokens: its part, its position in that part, and its position among the packed tokens.
 * @param shape of a part: [batch, heads, longest, size].
 */
export function walkHeads(
  op: string,
  places: NdArray,
  shape: readonly number[],
  parts: number,
  visit: (part: number, at: number, packed: number) => void,
): void {
  const [batch, heads, longest, size] = shape as [number, number, number, number]
  places.data.forEach((place, token) => {
    const slot = checkedIndex(op, place, batch * longest)
    const [row, position] = [Math.floor(slot / longest), slot % longest]
    for (let part = 0; part < parts; part++)
      for (let head = 0; head < heads; head++)
        for (let i = 0; i < size; i++)
          visit(part, ((row * heads + head) * longest + position) * size + i, ((token * parts + part) * heads + head) * size + i)
  })
}
