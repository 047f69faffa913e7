/**
 * @file Small unsigned integers, packed without gaps: the first in the lowest bits of the first byte.
 */
import { invalid } from './codec.js'

/** Bytes of `count` integers of `width` bits. */
export function packedBytes(count: number, width: number): number {
  return Math.ceil((count * width) / 8)
}

/** @param codes each below 2^width; width from 1 to 16 */
export function packBits(codes: Uint8Array | Uint16Array, width: number): Uint8Array<ArrayBuffer> {
  if (width === 8) return Uint8Array.from(codes)
  const bytes = new Uint8Array(packedBytes(codes.length, width))
  let [held, heldBits, at] = [0, 0, 0]
  for (let index = 0; index < codes.length; index++) {
    held |= codes[index] << heldBits
    heldBits += width
    while (heldBits >= 8) {
      bytes[at++] = held & 0xff
      held >>>= 8
      heldBits -= 8
    }
  }
  if (heldBits > 0) bytes[at] = held
  return bytes
}

/**
 * @param bytes exactly `packedBytes(out.length, width)`
 * @param out gets the integers
 * @throws UserError MESSAGE_INVALID if bits beyond the last integer are set
 */
export function unpackBits<Codes extends Uint8Array | Uint16Array>(bytes: Uint8Array, width: number, out: Codes): Codes {
  if (width === 8) {
    out.set(bytes)
    return out
  }
  const mask = (1 << width) - 1
  let [held, heldBits, at] = [0, 0, 0]
  for (let index = 0; index < out.length; index++) {
    while (heldBits < width) {
      held |= bytes[at++] << heldBits
      heldBits += 8
    }
    out[index] = held & mask
    held >>>= width
    heldBits -= width
  }
  if (held !== 0) throw invalid('bits are set beyond its last code')
  return out
}
