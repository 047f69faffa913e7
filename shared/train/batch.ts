/**
 * @file Rows of tokens as one packed batch: real tokens only, in one long axis, and the indices that lead to padded slots and back.
 *
 * Dimensions, as the graph names them: `tokens` = real tokens of all rows, `batch` = rows, `longest` = slots of a row,
 * `scored` = positions that predict a scored token.
 */
import { unreachable } from '../errors.js'
import { i32, type I32Tensor } from '../tensor.js'
import type { TokenRow } from './rows.js'

/** Where packed tokens lie in their rows; a function of the rows' lengths alone, so the server works it out for itself. */
export interface Layout {
  /** Position of each token in its row, from 0. i32 [tokens]. */
  readonly positions: I32Tensor
  /** Packed index of the token in each slot; -1 for padding, which comes at a row's end. i32 [batch, longest]. */
  readonly slots: I32Tensor
  /** Flat slot index, row * longest + position, of each token. i32 [tokens]. */
  readonly places: I32Tensor
}

export interface Batch extends Layout {
  /** Tokens of each row. i32 [batch]. */
  readonly lengths: Int32Array
  /** i32 [tokens]. */
  readonly ids: I32Tensor
  /** Packed indices of the positions that predict a scored token: those just before it. i32 [scored], rising. */
  readonly scored: I32Tensor
  /** The ids that they predict. i32 [scored]. */
  readonly targets: I32Tensor
  /** 1 where a position predicts a scored token; `scored` as a mask. [tokens]. */
  readonly scoredMask: Uint8Array
  /** Numbers of the rows among the client's training rows, [batch]: codecs that remember rows go by them. Absent where rows have none. */
  readonly rows?: ArrayLike<number>
}

/** Packs rows in the order given. At least one row; none may be empty. */
export function packBatch(rows: readonly TokenRow[]): Batch {
  const lengths = Int32Array.from(rows, (row) => row.ids.length)
  const layout = layoutOf(lengths)
  const tokens = layout.positions.data.length
  const ids = new Int32Array(tokens)
  const scoredMask = new Uint8Array(tokens)
  let start = 0
  for (const row of rows) {
    if (row.scored.length !== row.ids.length || row.scored[0] !== 0) unreachable('a row whose scored flags do not fit its ids')
    ids.set(row.ids, start)
    // The flag of token t says that t is predicted, and the position before it does so: one place to the left.
    scoredMask.set(row.scored.subarray(1), start)
    start += row.ids.length
  }
  const scored = scoredPositions(scoredMask)
  return {
    lengths,
    ids: i32([tokens], ids),
    ...layout,
    scored,
    targets: i32(
      scored.shape,
      scored.data.map((position) => ids[position + 1]),
    ),
    scoredMask,
  }
}

/** The layout of rows with these lengths, each at least 1. A server gets them off the wire and has checked them and their sum. */
export function layoutOf(lengths: ArrayLike<number>): Layout {
  const batch = lengths.length
  if (batch === 0) unreachable('a batch of no rows')
  let tokens = 0
  let longest = 0
  for (let row = 0; row < batch; row++) {
    if (!Number.isInteger(lengths[row]) || lengths[row] < 1) unreachable(`a row of ${lengths[row]} tokens`)
    tokens += lengths[row]
    longest = Math.max(longest, lengths[row])
  }
  const positions = new Int32Array(tokens)
  const places = new Int32Array(tokens)
  const slots = new Int32Array(batch * longest).fill(-1)
  let token = 0
  for (let row = 0; row < batch; row++) {
    for (let position = 0; position < lengths[row]; position++, token++) {
      positions[token] = position
      places[token] = row * longest + position
      slots[places[token]] = token
    }
  }
  return { positions: i32([tokens], positions), slots: i32([batch, longest], slots), places: i32([tokens], places) }
}

/** The packed indices that a mask marks, i32 [scored], rising. */
export function scoredPositions(mask: Uint8Array): I32Tensor {
  const positions: number[] = []
  mask.forEach((flag, position) => {
    if (flag !== 0) positions.push(position)
  })
  return i32([positions.length], positions)
}
