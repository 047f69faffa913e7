/**
 * @file Between packed tokens and heads: every head of every token is a row, and one look-up by index moves it to where it belongs.
 *
 * Indices are made here from slots and places, once for all blocks of a run.
 */
import type { Tf, TfTensor } from '../kernels.js'
import type { Lowering } from './call.js'
import { expectIndices, moveRows } from './rows.js'

/** A token has heads * parts rows. Padding, the slot -1, leads to those of a token of zeros behind the last. */
export const toHeads: Lowering = (kernels, call) => {
  const { tf } = kernels
  const [x, slots] = [call.input(0), call.input(1)]
  const [heads, parts] = [call.number('heads'), call.number('parts')]
  const [tokens, width] = x.shape as [number, number]
  const filled = tf.concat([x, call.once(`zeros ${width}`, () => tf.zeros([1, width]))], 0)
  const rows = tf.reshape(filled, [(tokens + 1) * heads * parts, width / (heads * parts)])
  return call.shapes.map(([batch, , longest, size], part) => {
    const key = `to heads ${slots.id} ${tokens} ${heads} ${parts} ${part}`
    const indices = call.once(key, () => headRows(tf, slots, { tokens, heads, parts, part }))
    return tf.reshape(moveRows(kernels, rows, indices), [batch!, heads, longest!, size!])
  })
}

interface Layout {
  readonly tokens: number
  readonly heads: number
  readonly parts: number
  readonly part: number
}

/** Rows of one part, i32 [batch * heads * longest]: slot * heads * parts + part * heads + head. */
function headRows(tf: Tf, slots: TfTensor, { tokens, heads, parts, part }: Layout): TfTensor {
  const [batch, longest] = slots.shape as [number, number]
  const tokenOf = slots.dataSync()
  const rows = new Int32Array(batch * heads * longest)
  for (let row = 0, at = 0; row < batch; row++)
    for (let head = 0; head < heads; head++)
      for (let position = 0; position < longest; position++) {
        const slot = tokenOf[row * longest + position]!
        rows[at++] = (slot < 0 ? tokens : slot) * heads * parts + part * heads + head
      }
  return tf.tensor1d(rows, 'int32')
}

export const fromHeads: Lowering = (kernels, call) => {
  const { tf } = kernels
  const [first, places] = [call.input(0), call.input(2)]
  const parts = [first, call.optional(3), call.optional(4)].filter((part) => part !== null)
  const [batch, heads, longest, size] = first.shape as [number, number, number, number]
  const asRows = (x: TfTensor): TfTensor => tf.reshape(x, [batch * heads * longest, size])
  const rows = parts.length === 1 ? asRows(first) : tf.concat(parts.map(asRows), 0)
  const key = `from heads ${places.id} ${batch} ${longest} ${heads} ${parts.length}`
  const indices = call.once(key, () => packedRows(tf, places, [batch, heads, longest], parts.length))
  return tf.reshape(moveRows(kernels, rows, indices), call.shape)
}

/** Rows of each token, i32 [tokens * parts * heads]: ((part * batch + b) * heads + head) * longest + t, where b * longest + t is its place. */
function packedRows(tf: Tf, places: TfTensor, [batch, heads, longest]: readonly [number, number, number], parts: number): TfTensor {
  expectIndices('from_heads', places, batch * longest)
  const rows = new Int32Array(places.size * parts * heads)
  let at = 0
  for (const place of places.dataSync()) {
    const [b, t] = [Math.floor(place / longest), place % longest]
    for (let part = 0; part < parts; part++)
      for (let head = 0; head < heads; head++) rows[at++] = ((part * batch + b) * heads + head) * longest + t
  }
  return tf.tensor1d(rows, 'int32')
}
