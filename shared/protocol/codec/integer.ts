/**
 * @file Codecs int2 to int8: integers of a few bits, and a scale for each token, or for each group of channels of a token. Activations of language
 * models have a few channels far larger than the rest, so one scale for all of them would leave the rest no codes.
 *
 * A group's scale s is its largest magnitude / (2^(bits-1) - 1), rounded up to a bfloat16; x becomes floor(x/s + u) with u uniform in [0, 1),
 * whose mean is x (stochastic rounding), or the nearest integer where there is nothing to draw from. Source: algorithm 1 of AQ-SGD's quantiser
 * (arXiv 2206.01299) and QSGD (arXiv 1610.02132), per group. A number that is not finite makes its whole group NaN, so that a diverged run shows.
 *
 * Bytes: a scale (bf16, little-endian) for each group of each row, then the codes + 2^(bits-1) - 1 without gaps.
 */
import { elements } from '../../tensor.js'
import { bfloat16Above, bfloat16Value, isScale } from './bfloat16.js'
import { packBitsInto, packedBytes, unpackBits } from './bits.js'
import { checkLength, invalid, rowsOf, type Codec, type CodecContext } from './codec.js'
import { Dither } from './dither.js'

const SCALE_BYTES = 2
const LARGEST_F32 = (2 - 2 ** -23) * 2 ** 127

export interface IntegerOptions {
  /** From 2 to 8. */
  readonly bits: number
  /** Channels that share a scale; null: all of a token. */
  readonly group: number | null
  /** Always to the nearest. */
  readonly nearest: boolean
}

export function integerCodec({ bits, group, nearest }: IntegerOptions): Codec {
  const most = 2 ** (bits - 1) - 1
  const groupsOf = (width: number): number => (group === null ? Math.min(1, width) : Math.ceil(width / group))
  const byteLength = (shape: readonly number[]): number => {
    const { rows, width } = rowsOf(shape)
    return rows * groupsOf(width) * SCALE_BYTES + packedBytes(rows * width, bits)
  }

  return {
    byteLength,
    isVariable: false,
    encode(values, shape, context) {
      const { rows, width } = rowsOf(shape)
      const [groups, size] = [groupsOf(width), group ?? width]
      const bytes = new Uint8Array(byteLength(shape))
      const scales = new DataView(bytes.buffer)
      const packed = bytes.subarray(rows * groups * SCALE_BYTES)
      // Codes of a byte each are in their place at once.
      const codes = bits === 8 ? packed : new Uint8Array(values.length)
      const dither = nearest || context.random === null ? null : new Dither(context.random)
      const offsets = new Float64Array(width + 1).fill(0.5)
      for (let row = 0, place = 0; row < rows; row++) {
        dither?.fill(offsets, width)
        for (let channel = 0; channel < width; channel += size, place += SCALE_BYTES) {
          const [from, end] = [row * width + channel, row * width + Math.min(channel + size, width)]
          const scaleBits = bfloat16Above(largestOf(values, from, end) / most)
          scales.setUint16(place, scaleBits, true)
          encodeGroup(values, from, end, codes, most, bfloat16Value(scaleBits), offsets, channel)
        }
      }
      if (codes !== packed) packBitsInto(codes, bits, packed)
      return bytes
    },
    decode(bytes, shape) {
      checkLength(bytes, byteLength(shape), shape)
      const { rows, width } = rowsOf(shape)
      const [groups, size] = [groupsOf(width), group ?? width]
      const scales = readScales(bytes, rows * groups)
      const packed = bytes.subarray(rows * groups * SCALE_BYTES)
      const codes = bits === 8 ? packed : unpackBits(packed, bits, new Uint8Array(elements(shape)))
      const values = new Float32Array(codes.length)
      for (let row = 0, place = 0; row < rows; row++)
        for (let channel = 0; channel < width; channel += size)
          decodeGroup(codes, row * width + channel, row * width + Math.min(channel + size, width), values, most, scales[place++])
      return values
    },
    /** A step, or half of one to the nearest; and as much as float32 rounds a product. */
    errorBound(value, largest, { random }: CodecContext) {
      const step = bfloat16Value(bfloat16Above(largest / most))
      return (nearest || random === null ? step / 2 : step) * (1 + 2 ** -20) + Math.abs(value) * 2 ** -23
    },
  }
}

/** NaN if one is not finite. */
function largestOf(values: Float32Array, from: number, end: number): number {
  let largest = 0
  for (let index = from; index < end; index++) {
    const magnitude = Math.abs(values[index])
    if (!(magnitude <= LARGEST_F32)) return NaN
    if (magnitude > largest) largest = magnitude
  }
  return largest
}

/** @param offsets what is added to each number of the group before it is cut off, from `first` on */
function encodeGroup(
  values: Float32Array,
  from: number,
  end: number,
  codes: Uint8Array,
  most: number,
  scale: number,
  offsets: Float64Array,
  first: number,
): void {
  // Of zeros, and where the scale is NaN, every code is that of 0.
  if (!(scale > 0)) return void codes.fill(most, from, end)
  const inverse = 1 / scale
  const shift = first - from
  // The scale was rounded up, so the sum is from 0 on, but for its rounding, and below 2 most + 1: cutting off is rounding down.
  for (let index = from; index < end; index++) codes[index] = values[index] * inverse + most + offsets[index + shift]
}

/** @throws UserError MESSAGE_INVALID for a code that is never made */
function decodeGroup(codes: Uint8Array, from: number, end: number, values: Float32Array, most: number, scale: number): void {
  const most2 = 2 * most
  for (let index = from; index < end; index++) {
    const code = codes[index]
    if (code > most2) throw invalid(`it has the code ${code}, and the largest is ${most2}`)
    values[index] = (code - most) * scale
  }
  // A magnitude near the largest may have been rounded up beyond it.
  if (most * scale > LARGEST_F32)
    for (let index = from; index < end; index++) values[index] = Math.max(-LARGEST_F32, Math.min(LARGEST_F32, values[index]))
}

function readScales(bytes: Uint8Array, count: number): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const scales = new Float32Array(count)
  for (let index = 0; index < count; index++) {
    const halfWord = view.getUint16(index * SCALE_BYTES, true)
    if (!isScale(halfWord)) throw invalid('it has a scale that is negative or infinite')
    scales[index] = bfloat16Value(halfWord)
  }
  return scales
}
