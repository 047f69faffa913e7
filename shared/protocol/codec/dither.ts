/**
 * @file What stochastic rounding adds before it cuts off: 16 random bits for each number. A message takes a key from its stream of Philox, and counts
 * on from there with a mixing function of six operations: Philox for every number would take longer than the rest of the packing.
 */
import type { Random } from '../../random.js'

const STEP = 0x9e3779b9
const UNIT = 2 ** -16

export class Dither {
  private readonly key: number
  private counter: number

  constructor(random: Random) {
    this.key = random.uint32() | 0
    this.counter = random.uint32() | 0
  }

  /** Fills the first `count` places with numbers in [0, 1), two of each word. @param out one longer than an odd count */
  fill(out: Float64Array, count: number): void {
    const { key } = this
    let { counter } = this
    for (let index = 0; index < count; index += 2) {
      const word = mix(counter, key)
      out[index] = (word & 0xffff) * UNIT
      out[index + 1] = (word >>> 16) * UNIT
      counter = (counter + STEP) | 0
    }
    this.counter = counter
  }
}

/** Each bit of the result hangs on all of the counter's and of the key's. Source: Wellons, "Prospecting for hash functions", lowbias32. */
function mix(counter: number, key: number): number {
  let word = counter ^ (counter >>> 16)
  word = Math.imul(word, 0x21f0aaad) ^ key
  word ^= word >>> 15
  word = Math.imul(word, 0x735a2d97)
  return word ^ (word >>> 15)
}
