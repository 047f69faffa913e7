/**
 * @file Codecs with a memory: a training row comes back every epoch, and what both ends still hold of it need not be sent again.
 *
 * Such a codec is pure like any other: it is given what both ends hold, and gives what they are to hold next, which is what was decoded. Who holds what
 * is `row-encoder.ts`'s and `row-decoder.ts`'s.
 */
import { invalid, type Codec, type CodecContext } from './codec.js'
import type { ReuseOptions } from './likeness.js'
import type { Compression } from './zstd.js'

/** A row of a batch. */
export interface KnownRow {
  readonly tokens: number
  /** What both ends hold of it, [tokens, width]; null: nothing, and it is sent whole. */
  readonly before: Float32Array | null
}

/** Numbers are [tokens of all rows, width], row after row. */
export interface ChangeCodec {
  encode(values: Float32Array, rows: readonly KnownRow[], width: number, context: CodecContext): Uint8Array<ArrayBuffer>
  /**
   * @param bytes untrusted
   * @returns a new array; the same bits on both ends
   * @throws UserError MESSAGE_INVALID, before it allocates, unless the bytes are what `encode` can make of these rows
   */
  decode(bytes: Uint8Array, rows: readonly KnownRow[], width: number): Float32Array
  /** Bytes that `encode` makes of such rows, before compression. */
  byteLength(rows: readonly KnownRow[], width: number): number
}

/** What a codec's name asks for beyond single messages. */
export type History =
  /** Both ends remember. */
  | { readonly kind: 'changes'; readonly name: string; readonly changes: ChangeCodec; readonly reuse: ReuseOptions | null }
  /** Who encodes remembers what got lost, and adds it the next time. */
  | { readonly kind: 'feedback'; readonly name: string }

export function tokensOf(rows: readonly KnownRow[]): number {
  return rows.reduce((sum, { tokens }) => sum + tokens, 0)
}

/** Compression on top; of nothing, nothing. */
export function compressedChanges({ pack, unpack }: Compression, inner: ChangeCodec): ChangeCodec {
  return {
    byteLength: inner.byteLength,
    encode(values, rows, width, context) {
      const bytes = inner.encode(values, rows, width, context)
      return bytes.length === 0 ? bytes : pack(bytes)
    },
    decode(bytes, rows, width) {
      const length = inner.byteLength(rows, width)
      return inner.decode(length === 0 ? bytes : unpack(bytes, length, true), rows, width)
    },
  }
}

/** The rows one after the other, as parts of one array. */
export function* eachRow(
  values: Float32Array,
  rows: readonly KnownRow[],
  width: number,
): Generator<{ readonly row: KnownRow; readonly own: Float32Array }> {
  let at = 0
  for (const row of rows) {
    const end = at + row.tokens * width
    yield { row, own: values.subarray(at, end) }
    at = end
  }
}

/** The changes of rows that both ends hold, and others as they are. */
export function changesOf(values: Float32Array, rows: readonly KnownRow[], width: number): Float32Array {
  const changes = values.slice()
  for (const { row, own } of eachRow(changes, rows, width)) {
    const { before } = row
    if (before) for (let index = 0; index < own.length; index++) own[index] -= before[index]
  }
  return changes
}

/** The inverse, in place. */
export function addBefore(changes: Float32Array, rows: readonly KnownRow[], width: number): Float32Array {
  for (const { row, own } of eachRow(changes, rows, width)) {
    const { before } = row
    if (before) for (let index = 0; index < own.length; index++) own[index] += before[index]
  }
  return changes
}

/** Some of the rows, as a tensor of their own. */
export function gathered(
  values: Float32Array,
  rows: readonly KnownRow[],
  width: number,
  isTaken: (row: KnownRow) => boolean,
): { readonly values: Float32Array; readonly shape: readonly number[] } {
  const tokens = tokensOf(rows.filter(isTaken))
  const taken = new Float32Array(tokens * width)
  let at = 0
  for (const { row, own } of eachRow(values, rows, width)) {
    if (!isTaken(row)) continue
    taken.set(own, at)
    at += own.length
  }
  return { values: taken, shape: [tokens, width] }
}

/** `delta`: of rows that both ends hold the change is sent. Source: AQ-SGD (arXiv 2206.01299), algorithm 1. */
export function deltaCodec(numbers: Codec): ChangeCodec {
  const shapeOf = (rows: readonly KnownRow[], width: number): number[] => [tokensOf(rows), width]
  return {
    byteLength: (rows, width) => numbers.byteLength(shapeOf(rows, width)),
    encode: (values, rows, width, context) => numbers.encode(changesOf(values, rows, width), shapeOf(rows, width), context),
    decode: (bytes, rows, width) => addBefore(numbers.decode(bytes, shapeOf(rows, width)), rows, width),
  }
}

/** `reuse`: of rows that both ends hold nothing is sent, and what they hold counts. Source: SplitCom (arXiv 2602.10564). */
export function reuseCodec(numbers: Codec): ChangeCodec {
  const isSent = ({ before }: KnownRow): boolean => before === null
  const shapeOf = (rows: readonly KnownRow[], width: number): number[] => [tokensOf(rows.filter(isSent)), width]
  return {
    byteLength: (rows, width) => (rows.some(isSent) ? numbers.byteLength(shapeOf(rows, width)) : 0),
    encode(values, rows, width, context) {
      if (!rows.some(isSent)) return new Uint8Array(0)
      const sent = gathered(values, rows, width, isSent)
      return numbers.encode(sent.values, sent.shape, context)
    },
    decode(bytes, rows, width) {
      const sent = rows.some(isSent) ? numbers.decode(bytes, shapeOf(rows, width)) : nothing(bytes)
      const values = new Float32Array(tokensOf(rows) * width)
      let at = 0
      for (const { row, own } of eachRow(values, rows, width)) {
        if (row.before) own.set(row.before)
        else own.set(sent.subarray(at, (at += own.length)))
      }
      return values
    },
  }
}

function nothing(bytes: Uint8Array): Float32Array {
  if (bytes.length > 0) throw invalid(`it has ${bytes.length} bytes, and every row of it is known`)
  return new Float32Array(0)
}
