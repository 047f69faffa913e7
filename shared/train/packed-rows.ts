/**
 * @file Rows side by side in a few arrays: a process that simulates many clients keeps the rows of all of them, and a row of its own arrays costs
 * more than what is in it.
 */
import type { TokenRow } from './rows.js'

export interface PackedRows {
  /** Number of rows. */
  readonly length: number
  /** The rows again: views, so nothing is copied. */
  open(): TokenRow[]
}

/** Copies rows into arrays of 5 bytes a token and 12 bytes a row. */
export function packRows(rows: readonly TokenRow[]): PackedRows {
  const tokens = rows.reduce((sum, { ids }) => sum + ids.length, 0)
  const ids = new Int32Array(tokens)
  const scored = new Uint8Array(tokens)
  const ends = new Uint32Array(rows.length)
  const bytes = Float64Array.from(rows, (row) => row.bytes)
  let end = 0
  rows.forEach((row, index) => {
    ids.set(row.ids, end)
    scored.set(row.scored, end)
    end += row.ids.length
    ends[index] = end
  })
  return {
    length: rows.length,
    open: () =>
      Array.from(ends, (rowEnd, index) => {
        const start = index === 0 ? 0 : ends[index - 1]
        return { ids: ids.subarray(start, rowEnd), scored: scored.subarray(start, rowEnd), bytes: bytes[index] }
      }),
  }
}
