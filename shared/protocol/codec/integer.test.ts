import { describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import { integerCodec } from './integer.js'
import { outliersCodec } from './outliers.js'

const NEAREST = { purpose: 'activations', random: null } as const

function normal(rows: number, width: number): Float32Array {
  const values = new Float32Array(rows * width)
  derive(1, 'integers').fillNormal(values, 0, 1)
  return values
}

/** Root of the mean square of what a codec loses. */
function loss(codec: ReturnType<typeof integerCodec>, values: Float32Array, shape: readonly number[]): number {
  const decoded = codec.decode(codec.encode(values, shape, NEAREST), shape)
  return Math.sqrt(values.reduce((sum, value, i) => sum + (value - decoded[i]) ** 2, 0) / values.length)
}

const plain = { group: null, nearest: false }

describe('integers', () => {
  test('take their bits a number and two bytes a scale', () => {
    expect(integerCodec({ bits: 8, ...plain }).byteLength([10, 576])).toBe(10 * (576 + 2))
    expect(integerCodec({ bits: 4, ...plain }).byteLength([10, 576])).toBe(10 * (288 + 2))
    expect(integerCodec({ bits: 3, ...plain, group: 64 }).byteLength([10, 576])).toBe(10 * (216 + 2 * 9))
    expect(outliersCodec(3, integerCodec({ bits: 4, ...plain })).byteLength([10, 577])).toBe(10 * (287 + 2) + 3 * 2 + 2 + 10 * 3 * 2)
  })

  test('of a stochastic rounding are the number itself on average', () => {
    const values = normal(1, 64)
    const codec = integerCodec({ bits: 4, ...plain })
    const sum = new Float64Array(64)
    const draws = 4000
    for (let seed = 0; seed < draws; seed++) {
      const bytes = codec.encode(values, [1, 64], { purpose: 'activations', random: derive(seed, 'mean') })
      codec.decode(bytes, [1, 64]).forEach((value, index) => (sum[index] += value / draws))
    }
    // One draw deviates by at most half a step, about 0.2 here: the mean of 4,000 by 0.003; five deviations for the worst of 64.
    for (let index = 0; index < 64; index++) expect(Math.abs(sum[index] - values[index])).toBeLessThan(0.016)
  })

  test('to the nearest lose half of what a draw may lose', () => {
    const values = normal(50, 64)
    const one = integerCodec({ bits: 5, ...plain })
    const random = derive(7, 'loss')
    const drawn = one.decode(one.encode(values, [50, 64], { purpose: 'activations', random }), [50, 64])
    const drawnLoss = Math.sqrt(values.reduce((sum, value, i) => sum + (value - drawn[i]) ** 2, 0) / values.length)
    // A uniform error within half a step has a variance of step^2/12, a draw's has step^2/6.
    expect(drawnLoss / loss(one, values, [50, 64])).toBeCloseTo(Math.sqrt(2), 1)
    expect(integerCodec({ bits: 5, group: null, nearest: true }).encode(values, [50, 64], { purpose: 'activations', random })).toEqual(
      one.encode(values, [50, 64], NEAREST),
    )
  })

  test('lose less in groups, and less with outlier channels apart, where a few channels are large', () => {
    const values = normal(40, 128).map((value, index) => (index % 128 === 5 ? 100 * value : value))
    const shape = [40, 128]
    const whole = loss(integerCodec({ bits: 6, ...plain }), values, shape)
    expect(loss(integerCodec({ bits: 6, ...plain, group: 16 }), values, shape)).toBeLessThan(whole / 2)
    expect(loss(outliersCodec(1, integerCodec({ bits: 6, ...plain })), values, shape)).toBeLessThan(whole / 10)
  })

  test('of one token do not depend on the others', () => {
    const codec = integerCodec({ bits: 4, ...plain })
    const values = normal(3, 32)
    const alone = codec.decode(codec.encode(values.subarray(32, 64), [1, 32], NEAREST), [1, 32])
    expect(codec.decode(codec.encode(values, [3, 32], NEAREST), [3, 32]).slice(32, 64)).toEqual(alone)
  })

  test('keep numbers near both ends of what float32 can tell', () => {
    const codec = integerCodec({ bits: 8, ...plain })
    const largest = (2 - 2 ** -23) * 2 ** 127
    for (const values of [
      [largest, -largest, 0],
      [1e-40, -3e-40, 0],
    ]) {
      const decoded = codec.decode(codec.encode(Float32Array.from(values), [1, 3], NEAREST), [1, 3])
      expect(decoded.every(Number.isFinite)).toBe(true)
      expect(Math.sign(decoded[0])).toBe(1)
      expect(Math.sign(decoded[1])).toBe(-1)
      expect(decoded[2]).toBe(0)
    }
  })

  test('refuse a code that is never made, and a scale that is negative or infinite', () => {
    const codec = integerCodec({ bits: 8, ...plain })
    const bytes = codec.encode(Float32Array.of(1, 2), [1, 2], NEAREST)
    for (const [at, value] of [
      [2, 255],
      [1, bytes[1] | 0x80],
      [1, 0x7f],
    ]) {
      const damaged = bytes.slice()
      damaged[at] = value
      if (at === 1 && value === 0x7f) damaged[0] = 0x80
      expect(() => codec.decode(damaged, [1, 2])).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
    }
  })
})
