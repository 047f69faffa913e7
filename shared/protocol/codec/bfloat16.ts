/**
 * @file Scales as bfloat16: 8 bits of exponent, so that those of tiny gradients do not vanish, and 7 of mantissa.
 */
const word = new Float32Array(1)
const bits = new Uint32Array(word.buffer)
const LARGEST_FINITE = 0x7f7f
const QUIET_NAN = 0x7fc0

/** The bits of the least bfloat16 that is no smaller than a number >= 0, or of the largest finite one; NaN for NaN and infinity. */
export function bfloat16Above(value: number): number {
  if (!Number.isFinite(value)) return QUIET_NAN
  word[0] = value
  // To float32 it may have been rounded down.
  const float32Bits = word[0] < value ? bits[0] + 1 : bits[0]
  return Math.min(LARGEST_FINITE, (float32Bits + 0xffff) >>> 16)
}

export function bfloat16Value(halfWord: number): number {
  bits[0] = halfWord << 16
  return word[0]
}

/** Whether these are bits that `bfloat16Above` makes: of a number >= 0, or of NaN. */
export function isScale(halfWord: number): boolean {
  return halfWord <= LARGEST_FINITE || halfWord === QUIET_NAN
}
