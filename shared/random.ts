/**
 * @file Counter-based randomness: every stream is a pure function of a seed and a key, so no generator state is ever saved.
 *
 * Not for secrets: anyone who knows the seed knows every number.
 */
import { unreachable } from './errors.js'

/** One part of a stream's key: a purpose, a client id, a round, a tensor's name. */
export type KeyPart = string | number

/** A stream of random numbers. Two streams of the same seed and key give the same numbers in the same order, on every machine. */
export interface Random {
  /** An integer in [0, 2^32). */
  uint32(): number
  /** A number in [0, 1) with 53 random bits. */
  uniform(): number
  /** An unbiased integer in [0, n). n: an integer in [1, 2^32]. */
  below(n: number): number
  /** Standard normal. Source: Box & Muller 1958. */
  normal(): number
  /** Fills `out` with values in [low, high), 24 random bits each, one `uint32` a value; rounding to float32 may reach `high` unless it is 1 and `low` 0. */
  fillUniform(out: Float32Array, low: number, high: number): void
  /** Fills `out` with normal values of that mean and standard deviation. */
  fillNormal(out: Float32Array, mean: number, deviation: number): void
  /** The numbers 0..n-1 in random order, i32 [n]. Source: Fisher & Yates, as in Durstenfeld 1964. */
  permutation(n: number): Int32Array
}

// Philox's multipliers and its key increments (the golden ratio and sqrt(3) - 1, as 32-bit fractions).
const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

/** The high 32 bits of the product of two unsigned 32-bit integers; Math.imul gives the low ones. */
function highProduct(a: number, b: number): number {
  const aHigh = a >>> 16
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const bLow = b & 0xffff
  // Neither sum passes 2^32 - 1, because 0xffff * 0xffff + 0xffff < 2^32.
  const carry = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0
  const middle = (Math.imul(aLow, bHigh) + (carry & 0xffff)) | 0
  return (Math.imul(aHigh, bHigh) + (carry >>> 16) + (middle >>> 16)) | 0
}

/**
 * Philox4x32-10: a keyed bijection of 128-bit counters, whose outputs for 0, 1, 2, ... are the random numbers.
 *
 * @param out u32 [4], overwritten; counter: four and key: two 32-bit words.
 * Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11, section 3.3.
 */
export function philox4x32(out: Uint32Array, c0: number, c1: number, c2: number, c3: number, key0: number, key1: number): void {
  let x0 = c0 | 0
  let x1 = c1 | 0
  let x2 = c2 | 0
  let x3 = c3 | 0
  let k0 = key0 | 0
  let k1 = key1 | 0
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = highProduct(MULTIPLIER_0, x0)
    const high1 = highProduct(MULTIPLIER_1, x2)
    const low0 = Math.imul(MULTIPLIER_0, x0)
    const low1 = Math.imul(MULTIPLIER_1, x2)
    x0 = high1 ^ x1 ^ k0
    x1 = low1
    x2 = high0 ^ x3 ^ k1
    x3 = low0
    k0 = (k0 + WEYL_0) | 0
    k1 = (k1 + WEYL_1) | 0
  }
  out[0] = x0
  out[1] = x1
  out[2] = x2
  out[3] = x3
}

const utf8 = new TextEncoder()
const NUMBER_TAG = 1
const STRING_TAG = 2

/** Bytes that no other list of parts has: each part is tagged, a string's length goes before it, a number is its float64. */
function keyBytes(parts: readonly KeyPart[]): Uint8Array {
  const encoded = parts.map((part) => (typeof part === 'string' ? utf8.encode(part) : numberBytes(part)))
  const bytes = new Uint8Array(encoded.reduce((sum, part) => sum + 5 + part.length, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  encoded.forEach((part, index) => {
    bytes[at] = typeof parts[index] === 'string' ? STRING_TAG : NUMBER_TAG
    view.setUint32(at + 1, part.length, true)
    bytes.set(part, at + 5)
    at += 5 + part.length
  })
  return bytes
}

function numberBytes(value: number): Uint8Array {
  if (!Number.isFinite(value)) unreachable(`a random stream is keyed by ${value}`)
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, value + 0, true) // + 0 makes -0 the same key as 0
  return bytes
}

/** 128 bits of `parts`: Davies-Meyer over Philox as the block cipher, 8 bytes of message a block, the length in the last one. */
function keyHash(parts: readonly KeyPart[]): Uint32Array {
  const message = keyBytes(parts)
  const padded = new Uint8Array(Math.ceil(message.length / 8) * 8 + 8)
  padded.set(message)
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, message.length, true)
  const hash = new Uint32Array(4)
  const block = new Uint32Array(4)
  for (let at = 0; at < padded.length; at += 8) {
    philox4x32(block, hash[0], hash[1], hash[2], hash[3], view.getUint32(at, true), view.getUint32(at + 4, true))
    for (let word = 0; word < 4; word++) hash[word] ^= block[word]
  }
  return hash
}

/** Two words of the hash key Philox, the other two are the counter's upper half; its lower half counts the blocks drawn. */
class PhiloxStream implements Random {
  readonly #hash: Uint32Array
  readonly #block = new Uint32Array(4)
  #blockIndex = 0
  #used = 4
  #spareNormal: number | null = null

  constructor(hash: Uint32Array) {
    this.#hash = hash
  }

  #nextBlock(): void {
    const [key0, key1, high0, high1] = this.#hash
    philox4x32(this.#block, this.#blockIndex, Math.floor(this.#blockIndex / 2 ** 32), high0, high1, key0, key1)
    this.#blockIndex++
    this.#used = 0
  }

  uint32(): number {
    if (this.#used === 4) this.#nextBlock()
    return this.#block[this.#used++]
  }

  uniform(): number {
    const high = this.uint32() >>> 5
    const low = this.uint32() >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }

  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) unreachable(`a random integer below ${n}`)
    // The words above the last multiple of n would make the small results likelier.
    const limit = 2 ** 32 - (2 ** 32 % n)
    let word = this.uint32()
    while (word >= limit) word = this.uint32()
    return word % n
  }

  normal(): number {
    if (this.#spareNormal !== null) {
      const spare = this.#spareNormal
      this.#spareNormal = null
      return spare
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()))
    const angle = 2 * Math.PI * this.uniform()
    this.#spareNormal = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  fillUniform(out: Float32Array, low: number, high: number): void {
    const scale = (high - low) / 2 ** 24
    let at = 0
    while (at < out.length) {
      if (this.#used === 4) this.#nextBlock()
      const end = Math.min(out.length, at + 4 - this.#used)
      while (at < end) out[at++] = low + (this.#block[this.#used++] >>> 8) * scale
    }
  }

  fillNormal(out: Float32Array, mean: number, deviation: number): void {
    for (let index = 0; index < out.length; index++) out[index] = mean + deviation * this.normal()
  }

  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, index) => index)
    for (let last = n - 1; last > 0; last--) {
      const other = this.below(last + 1)
      const held = order[last]
      order[last] = order[other]
      order[other] = held
    }
    return order
  }
}

/**
 * The random stream of a seed and a key, always from its beginning.
 *
 * Parts are unambiguous: ('a', 'bc') differs from ('ab', 'c'), and the number 1 from the string '1'; -0 is 0.
 */
export function derive(seed: number, ...key: readonly KeyPart[]): Random {
  return new PhiloxStream(keyHash([seed, ...key]))
}
