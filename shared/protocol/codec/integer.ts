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
import { packBits, packedBytes, unpackBits } from './bits.js'
import { checkLength, invalid, rowsOf, type Codec, type CodecContext } from './codec.js'

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
      const codes = new Uint8Array(values.length)
      const rounding = nearest || context.random === null ? null : new Halves(context.random)
      for (let row = 0, place = 0; row < rows; row++)
        for (let at = row * width, part = 0; part < groups; part++, place += SCALE_BYTES) {
          const end = Math.min(at + size, (row + 1) * width)
          const scaleBits = bfloat16Above(largestOf(values, at, end) / most)
          scales.setUint16(place, scaleBits, true)
          encodeGroup(values, at, end, codes, most, bfloat16Value(scaleBits), rounding)
          at = end
        }
      bytes.set(packBits(codes, bits), rows * groups * SCALE_BYTES)
      return bytes
    },
    decode(bytes, shape) {
      checkLength(bytes, byteLength(shape), shape)
      const { rows, width } = rowsOf(shape)
      const [groups, size] = [groupsOf(width), group ?? width]
      const scales = readScales(bytes, rows * groups)
      const codes = unpackBits(bytes.subarray(rows * groups * SCALE_BYTES), bits, new Uint8Array(elements(shape)))
      const values = new Float32Array(codes.length)
      for (let row = 0, place = 0; row < rows; row++)
        for (let at = row * width, part = 0; part < groups; part++) {
          const scale = scales[place++]
          for (const end = Math.min(at + size, (row + 1) * width); at < end; at++) {
            if (codes[at] > 2 * most) throw invalid(`it has the code ${codes[at]}, and the largest is ${2 * most}`)
            const value = (codes[at] - most) * scale
            // A magnitude near the largest may have been rounded up beyond it.
            values[at] = value > LARGEST_F32 ? LARGEST_F32 : value < -LARGEST_F32 ? -LARGEST_F32 : value
          }
        }
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

function encodeGroup(
  values: Float32Array,
  from: number,
  end: number,
  codes: Uint8Array,
  most: number,
  scale: number,
  rounding: Halves | null,
): void {
  // Of zeros, and where the scale is NaN, every code is that of 0.
  const inverse = scale > 0 ? 1 / scale : 0
  for (let index = from; index < end; index++) {
    const scaled = inverse === 0 ? 0 : values[index] * inverse
    const code = Math.floor(scaled + (rounding === null ? 0.5 : rounding.next()))
    codes[index] = (code > most ? most : code < -most ? -most : code) + most
  }
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

/** Numbers in [0, 1) of 16 random bits: two of each word, since rounding needs no more. */
class Halves {
  private spare = -1

  constructor(private readonly random: CodecContext['random'] & object) {}

  next(): number {
    if (this.spare >= 0) {
      const half = this.spare
      this.spare = -1
      return half / 65536
    }
    const drawn = this.random.uint32()
    this.spare = drawn >>> 16
    return (drawn & 0xffff) / 65536
  }
}
