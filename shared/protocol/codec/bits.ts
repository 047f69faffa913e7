/**
 * @file Small unsigned integers, packed without gaps: the first in the lowest bits of the first byte.
 */
import { invalid } from './codec.js'

/** Bytes of `count` integers of `width` bits. */
export function packedBytes(count: number, width: number): number {
  return Math.ceil((count * width) / 8)
}

/**
 * @param codes each below 2^width; width from 1 to 16
 * @param bytes gets them, `packedBytes(codes.length, width)`
 */
export function packBitsInto(codes: Uint8Array | Uint16Array, width: number, bytes: Uint8Array): void {
  if (width === 8) bytes.set(codes)
  else if (width === 4) packNibbles(codes, bytes)
  else {
    let [held, heldBits, at] = [0, 0, 0]
    for (let index = 0; index < codes.length; index++) {
      held |= codes[index] << heldBits
      heldBits += width
      // Twice at most: fewer than 8 bits were held, and 16 came.
      if (heldBits >= 8) {
        bytes[at++] = held
        held >>>= 8
        heldBits -= 8
      }
      if (heldBits >= 8) {
        bytes[at++] = held
        held >>>= 8
        heldBits -= 8
      }
    }
    if (heldBits > 0) bytes[at] = held
  }
}

function packNibbles(codes: Uint8Array | Uint16Array, bytes: Uint8Array): void {
  const pairs = codes.length >> 1
  for (let at = 0; at < pairs; at++) bytes[at] = codes[2 * at] | (codes[2 * at + 1] << 4)
  if (codes.length % 2 === 1) bytes[pairs] = codes[codes.length - 1]
}

/** As `packBitsInto`, into new bytes. */
export function packBits(codes: Uint8Array | Uint16Array, width: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(packedBytes(codes.length, width))
  packBitsInto(codes, width, bytes)
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
    if (heldBits < width) {
      held |= bytes[at++] << heldBits
      heldBits += 8
    }
    if (heldBits < width) {
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
