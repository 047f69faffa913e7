/**
 * @file Codec fp16: IEEE 754 half precision, rounded to the nearest, ties to even, saturating at +-65504.
 *
 * Bytes: i16 exponent e, then one half for each value, little-endian; a value is its half times 2^-e. Activations and adapters have
 * e = 0. Gradients have the e that brings the largest finite magnitude of the message into [2^14, 2^15), so that gradients far below
 * half precision's 6e-8 do not vanish; a power of two adds no rounding of its own.
 * NaN stays NaN, so a diverged run shows; infinities saturate like any other value too large, and are left out of the choice of e.
 */
import { elements } from '../../tensor.js'
import { checkLength, invalid, type Codec, type CodecContext } from './codec.js'

const HEADER_BYTES = 2
const HALF_BYTES = 2
const LARGEST_HALF = 65504
/** Half of the smallest step: 2^-24 between subnormals. */
const SUBNORMAL_ERROR = 2 ** -25
/** Half a unit in the last of 11 significant bits. */
const RELATIVE_ERROR = 2 ** -11
const SCALED_EXPONENT = 14
const LARGEST_F32 = (2 - 2 ** -23) * 2 ** 127
/** The exponents that float32's largest and smallest magnitudes, 2^127 and 2^-149, lead to. */
const LOWEST_EXPONENT = SCALED_EXPONENT - 127
const HIGHEST_EXPONENT = SCALED_EXPONENT + 149

export const fp16: Codec = {
  isVariable: false,
  byteLength: (shape) => HEADER_BYTES + elements(shape) * HALF_BYTES,
  encode(values, _, context) {
    const exponent = scaleExponent(largestMagnitude(values), context)
    const bytes = new Uint8Array(HEADER_BYTES + values.length * HALF_BYTES)
    const view = new DataView(bytes.buffer)
    view.setInt16(0, exponent, true)
    const scale = 2 ** exponent
    const scaled = new Float32Array(values.length)
    for (let index = 0; index < values.length; index++) scaled[index] = values[index] * scale
    const bits = new Uint32Array(scaled.buffer)
    for (let index = 0; index < bits.length; index++) view.setUint16(HEADER_BYTES + index * HALF_BYTES, halfBits(bits[index]), true)
    return bytes
  },
  decode(bytes, shape) {
    checkLength(bytes, fp16.byteLength(shape), shape)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const exponent = view.getInt16(0, true)
    if (exponent < LOWEST_EXPONENT || exponent > HIGHEST_EXPONENT) throw invalid(`its scale is 2^${exponent}, which no float32 needs`)
    const scale = 2 ** -exponent
    const values = new Float32Array(elements(shape))
    const table = halfValues()
    for (let index = 0; index < values.length; index++) {
      const value = table[view.getUint16(HEADER_BYTES + index * HALF_BYTES, true)] * scale
      // A magnitude just below 2^128 may have been rounded up to it.
      values[index] = Math.max(-LARGEST_F32, Math.min(LARGEST_F32, value))
    }
    return values
  },
  /** Relative 2^-11 where halves are normal, 2^-25 / 2^e below; what lies beyond 65504 is cut off. */
  errorBound(value, largest, context) {
    const scale = 2 ** scaleExponent(largest, context)
    const magnitude = Math.abs(value)
    const saturation = Math.max(0, magnitude - LARGEST_HALF / scale)
    return Math.max(RELATIVE_ERROR * magnitude, SUBNORMAL_ERROR / scale, saturation)
  },
}

function largestMagnitude(values: Float32Array): number {
  let largest = 0
  for (let index = 0; index < values.length; index++) {
    const magnitude = Math.abs(values[index])
    if (magnitude > largest && magnitude < Infinity) largest = magnitude
  }
  return largest
}

function scaleExponent(largest: number, context: CodecContext): number {
  if (context.purpose !== 'gradients' || largest === 0) return 0
  return SCALED_EXPONENT - floorLog2(largest)
}

const word = new DataView(new ArrayBuffer(8))

/** Exact, where Math.log2 may round up to the next power; `value` is a float32, so never subnormal as a float64. */
function floorLog2(value: number): number {
  word.setFloat64(0, value)
  return ((word.getUint32(0) >>> 20) & 0x7ff) - 1023
}

/** Half of a float32, both as bits. Round to nearest even; beyond 65504, infinities included, +-65504; NaN: the quiet NaN 0x7e00. */
function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return 0x7e00
  // 65520 is the first that would round to 2^16.
  if (magnitude >= 0x477ff000) return sign | 0x7bff
  if (magnitude >= 0x38800000) {
    // Normal: rebias the exponent by 127 - 15; a carry out of the mantissa raises the exponent, as it should.
    const rebiased = magnitude - 0x38000000
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13)
  }
  // Below 2^-25, or exactly it (a tie with the even zero): zero.
  if (magnitude <= 0x33000000) return sign
  const shift = 126 - (magnitude >>> 23)
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const kept = mantissa >>> shift
  const rest = mantissa & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return sign | (rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept)
}

let valuesOfHalves: Float32Array | null = null

/** float32 of every half, by its bits. */
function halfValues(): Float32Array {
  valuesOfHalves ??= Float32Array.from({ length: 0x10000 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >>> 10) & 0x1f
    const mantissa = bits & 0x3ff
    if (exponent === 0x1f) return mantissa ? NaN : sign * Infinity
    return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
  })
  return valuesOfHalves
}
