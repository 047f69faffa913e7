/**
 * @file What a codec is: a pair of pure functions between values and the bytes that cross the wire.
 *
 * To add one, copy `fp16.ts`, list it in `index.ts`, and give it an error bound and the property test of that bound. A name may
 * be composed as `a+b` (b packs what a made): a composition is one more entry of the list, and decodes from right to left.
 */
import { UserError } from '../../errors.js'
import { elements } from '../../tensor.js'
import type { CodedTensor } from '../messages.js'

/** What a codec may know beside the values. Codecs are stateless: one that needs randomness will find the keys of its stream here. */
export interface CodecContext {
  /** Activations have a fixed useful range; gradients may be tiny all over; adapters are averaged and must not drift. */
  readonly purpose: 'activations' | 'gradients' | 'adapter'
}

export interface Codec {
  readonly name: string
  /** Row-major values of `shape`; any rank. */
  encode(values: Float32Array, shape: readonly number[], context: CodecContext): CodedTensor
  /**
   * @returns a new array that shares nothing with `coded.bytes`.
   * @throws UserError MESSAGE_INVALID if the codec's name, the shape or the number of bytes is not what is expected.
   */
  decode(coded: CodedTensor, expectedShape: readonly number[]): Float32Array
  /**
   * The most that |decode(encode(x)) - x| can be for one finite value.
   * @param largest the largest magnitude among the finite values encoded with it.
   */
  errorBound(value: number, largest: number, context: CodecContext): number
}

/**
 * What every `decode` checks before it allocates.
 * @param expectedBytes what this codec needs for that shape.
 */
export function checkCoded(
  name: string,
  coded: CodedTensor,
  expectedShape: readonly number[],
  expectedBytes: (count: number) => number,
): void {
  if (coded.codec !== name) throw invalid(`it is packed with "${coded.codec}", and "${name}" was agreed on`)
  if (coded.shape.length !== expectedShape.length || coded.shape.some((dim, axis) => dim !== expectedShape[axis])) {
    throw invalid(`its shape is [${coded.shape.join(', ')}], and [${expectedShape.join(', ')}] is expected`)
  }
  const bytes = expectedBytes(elements(expectedShape))
  if (coded.bytes.length !== bytes)
    throw invalid(`it has ${coded.bytes.length} bytes, and ${name} of [${expectedShape.join(', ')}] takes ${bytes}`)
}

export function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'a tensor from the network cannot be used',
    why,
    fix: 'make sure that both ends run the same version of cutlayer and read the same run config',
  })
}
