/**
 * @file From packed tokens to one matrix for each row of the batch and head, as attention needs them.
 *
 * Everything but attention works on packed tokens, so no padding is ever multiplied, kept or sent. One op, and not a chain of look-up, split
 * and transpositions, because a backend then moves each number once.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'
import { walkHeads } from './from_heads.js'

/**
 * `parts` outputs y_p[b, h, t, i] = x[slots[b, t], (p heads + h) size + i], and 0 where the slot is -1 (padding).
 * x: f32 [tokens, parts * heads * size]. slots: i32 [batch, longest]. places: i32 [tokens], the flat slot b * longest + t of each token, the
 * inverse of slots. Each y: f32 [batch, heads, longest, size].
 */
export const to_heads = defineOp<'x' | 'slots' | 'places', never, { heads: number; parts: number }>({
  name: 'to_heads',
  inputs: ['x', 'slots', 'places'],
  cost: 'cheap',
  infer({ x, slots, places }, { heads, parts }) {
    const [tokens, width] = expectSpec('to_heads: x', x, 'f32', 2).shape
    const [batch, longest] = expectSpec('to_heads: slots', slots, 'i32', 2).shape
    expectShape('to_heads: places', expectSpec('to_heads: places', places, 'i32', 1), [tokens])
    if (typeof width !== 'number' || !(parts >= 1 && parts <= 3) || width % (heads * parts) !== 0)
      return unreachable(`to_heads: ${parts} times ${heads} heads do not divide a width of ${width}`)
    const spec = { dtype: 'f32' as const, shape: [batch, heads, longest, width / (heads * parts)] }
    return Array.from({ length: parts }, () => spec)
  },
  vjp({ slots, places, grads, outs }) {
    const [a, b, c] = grads.map((grad, part) => grad ?? outs[part].builder.constant(0).broadcastTo(outs[part].shape))
    return { x: a.builder.apply('from_heads', [a, slots, places, b, c])[0], slots: null, places: null }
  },
  reference({ x, places }, _, shapes) {
    const outs = shapes.map((shape) => NdArray.zeros(shape))
    walkHeads('to_heads', places, shapes[0], outs.length, (part, at, from) => (outs[part].data[at] = x.data[from]))
    return outs
  },
})
