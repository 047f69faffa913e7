/**
 * @file CRC-32 as in zlib and Ethernet (reflected polynomial 0xedb88320), eight bytes at a time, in Node and browsers alike.
 * Source: Kounavis & Berry 2005, "A Systematic Approach to Building High Performance, Software-based, CRC Generators" (slicing by 8).
 */
const SLICES = 8
const TABLE = slicingTable()

/** @returns the checksum as an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array): number {
  const t = TABLE
  const end = bytes.length - (bytes.length % SLICES)
  let crc = 0xffffffff
  let at = 0
  for (; at < end; at += SLICES) {
    const low = crc ^ (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24))
    crc =
      t[0x700 + (low & 0xff)] ^
      t[0x600 + ((low >>> 8) & 0xff)] ^
      t[0x500 + ((low >>> 16) & 0xff)] ^
      t[0x400 + (low >>> 24)] ^
      t[0x300 + bytes[at + 4]] ^
      t[0x200 + bytes[at + 5]] ^
      t[0x100 + bytes[at + 6]] ^
      t[bytes[at + 7]]
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]) & 0xff]
  return (crc ^ 0xffffffff) >>> 0
}

/** Row k, 256 entries: the effect of a byte that k more bytes follow. */
function slicingTable(): Uint32Array {
  const table = new Uint32Array(SLICES * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
    table[byte] = crc
  }
  for (let index = 256; index < table.length; index++) {
    const before = table[index - 256]
    table[index] = (before >>> 8) ^ table[before & 0xff]
  }
  return table
}
