/**
 * @file The 16-bit floats F16 (IEEE 754 binary16) and BF16 (the upper half of a float32), to and from float32.
 *
 * Decoding is exact. Encoding rounds to nearest, ties to even; what is too large becomes an infinity, and a NaN stays one.
 */

const bits = new Uint32Array(1)
const asFloat = new Float32Array(bits.buffer)

let halfTable: Uint32Array | null = null

/** The float32 bits of all 65,536 halves: looking one up is several times faster than working it out. */
function tableOfHalves(): Uint32Array {
  if (halfTable) return halfTable
  const table = new Uint32Array(65536)
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16
    const exponent = (half >>> 10) & 0x1f
    const fraction = half & 0x3ff
    if (exponent === 0x1f) {
      table[half] = sign | 0x7f800000 | (fraction << 13)
    } else if (exponent !== 0) {
      table[half] = sign | ((exponent + 112) << 23) | (fraction << 13)
    } else {
      asFloat[0] = fraction * 2 ** -24 // zero and the subnormals, all normal in float32
      table[half] = sign | bits[0]
    }
  }
  halfTable = table
  return table
}

/** Any length; the same length comes back. */
export function decodeF16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const table = tableOfHalves()
  const values = new Float32Array(halves.length)
  const words = new Uint32Array(values.buffer)
  for (let index = 0; index < halves.length; index++) words[index] = table[halves[index]]
  return values
}

/** One float32's bits as a half's. */
function halfOf(word: number): number {
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff)
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // 65520 and above lie nearer to 65536, which is no half
  if (magnitude >= 0x38800000) {
    // Normal: add just under half a unit in the last place, and one more where the last bit kept is odd.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude <= 0x33000000) return sign // 2^-25 is half of the smallest subnormal, a tie that goes to zero
  const fraction = (magnitude & 0x7fffff) | 0x800000
  const shift = 126 - (magnitude >>> 23)
  return sign | ((fraction + (1 << (shift - 1)) - 1 + ((fraction >>> shift) & 1)) >>> shift)
}

/** Any length; the same length comes back. */
export function encodeF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let index = 0; index < words.length; index++) halves[index] = halfOf(words[index])
  return halves
}

/** Any length; the same length comes back. */
export function decodeBF16(brains: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(brains.length)
  const words = new Uint32Array(values.buffer)
  for (let index = 0; index < brains.length; index++) words[index] = brains[index] << 16
  return values
}

/** Any length; the same length comes back. */
export function encodeBF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const brains = new Uint16Array(values.length)
  for (let index = 0; index < words.length; index++) {
    const word = words[index]
    const isNaN = (word & 0x7fffffff) > 0x7f800000
    // Rounding could carry a NaN into an infinity, so it is cut and made quiet instead.
    brains[index] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  }
  return brains
}
