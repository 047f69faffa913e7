/**
 * @file What a codec is: a pair of pure functions between numbers and the bytes that cross the wire.
 *
 * A codec may wrap another, which packs what it leaves: `outliers.ts`, `topk.ts` and `zstd.ts` do. How a name such as `topk+int8+zstd` becomes
 * such a chain says `parse.ts`.
 */
import { UserError } from '../../errors.js'
import type { Random } from '../../random.js'
import { elements } from '../../tensor.js'

/** What a codec may know beside the numbers. */
export interface CodecContext {
  /** Activations have a fixed useful range; gradients may be tiny all over; adapters are averaged and must not drift. */
  readonly purpose: 'activations' | 'gradients' | 'adapter'
  /** What rounding and choosing draw from; null: to the nearest, and the largest. Decoding needs none of it. */
  readonly random: Random | null
}

/** Stateless: the same numbers, context and stream make the same bytes. Numbers are row-major, of any rank; a row is the last axis. */
export interface Codec {
  encode(values: Float32Array, shape: readonly number[], context: CodecContext): Uint8Array<ArrayBuffer>
  /**
   * @param bytes untrusted, at any offset of a larger buffer
   * @returns a new array that shares nothing with `bytes`
   * @throws UserError MESSAGE_INVALID, before it allocates, unless the bytes are what `encode` can make of that shape
   */
  decode(bytes: Uint8Array, shape: readonly number[]): Float32Array
  /** Bytes that `encode` makes of that shape; of a codec whose bytes depend on the numbers (`isVariable`), the most. */
  byteLength(shape: readonly number[]): number
  readonly isVariable: boolean
  /**
   * The most that |decode(encode(x)) - x| can be for one number among finite ones.
   * @param largest the largest magnitude among those encoded with it.
   */
  errorBound(value: number, largest: number, context: CodecContext): number
}

/** The rows of a shape and their width. A scalar is one row of one number. */
export function rowsOf(shape: readonly number[]): { readonly rows: number; readonly width: number } {
  const width = shape.at(-1) ?? 1
  return { rows: elements(shape.slice(0, -1)), width }
}

/** What every codec of fixed length checks before it allocates. */
export function checkLength(bytes: Uint8Array, expectedBytes: number, shape: readonly number[]): void {
  if (bytes.length !== expectedBytes) throw invalid(`it has ${bytes.length} bytes, and one of [${shape.join(', ')}] takes ${expectedBytes}`)
}

/** Byte arrays behind each other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'a tensor from the network cannot be used',
    why,
    fix: 'make sure that both ends run the same version of cutlayer and read the same run config',
  })
}
