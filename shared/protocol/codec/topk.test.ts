import { describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import { fp32 } from './fp32.js'
import { topkCodec } from './topk.js'

const LARGEST = { purpose: 'gradients', random: null } as const

function there(
  codec: ReturnType<typeof topkCodec>,
  values: number[],
  shape: readonly number[],
  random = LARGEST.random as null | ReturnType<typeof derive>,
) {
  return [...codec.decode(codec.encode(Float32Array.from(values), shape, { purpose: 'gradients', random }), shape)]
}

describe('topk', () => {
  test('keeps the largest magnitudes of each row, the first of equal ones, and makes the rest 0', () => {
    const codec = topkCodec({ share: 0.4, random: 0 }, fp32)
    expect(there(codec, [1, -5, 2, 0, 3, 7, 7, 7, -7, 7], [2, 5])).toEqual([0, -5, 0, 0, 3, 7, 7, 0, 0, 0])
  })

  test('tells where they are in whichever form is shorter', () => {
    // 64 channels: flags take 64 bits a row, and 11 channels of 6 bits more; 3 take 18 bits.
    expect(topkCodec({ share: 11 / 64, random: 0 }, fp32).byteLength([4, 64])).toBe(4 * 8 + 4 * 11 * 4)
    expect(topkCodec({ share: 3 / 64, random: 0 }, fp32).byteLength([4, 64])).toBe((4 * 18) / 8 + 4 * 3 * 4)
    const values = Array.from({ length: 4 * 64 }, (_, index) => Math.sin(index))
    for (const share of [3 / 64, 30 / 64]) {
      const kept = there(topkCodec({ share, random: 0 }, fp32), values, [4, 64])
      expect(kept.filter((value) => value !== 0)).toHaveLength(4 * 64 * share)
      kept.forEach((value, index) => value === 0 || expect(value).toBe(Math.fround(values[index])))
    }
  })

  test('gives each place to a smaller number with the probability that is asked for', () => {
    const codec = topkCodec({ share: 0.25, random: 0.2 }, fp32)
    const values = Array.from({ length: 40 }, (_, index) => 40 - index)
    let smaller = 0
    const drawn = new Set<number>()
    for (let seed = 0; seed < 1000; seed++) {
      const kept = there(codec, values, [1, 40], derive(seed, 'topk')).flatMap((value, index) => (value === 0 ? [] : [index]))
      expect(kept).toHaveLength(10)
      for (const index of kept) if (index >= 10) drawn.add(index)
      smaller += kept.filter((index) => index >= 10).length
    }
    // 10,000 places: 2,000 with a deviation of 40.
    expect(Math.abs(smaller - 2000)).toBeLessThan(200)
    expect(drawn.size).toBe(30)
  })

  test('refuses places that are not ascending, out of the row, too many or too few', () => {
    const refused = (codec: ReturnType<typeof topkCodec>, shape: readonly number[], change: (bytes: Uint8Array) => void): void => {
      const bytes = codec.encode(new Float32Array(shape[0] * shape[1]).fill(1), shape, LARGEST)
      change(bytes)
      expect(() => codec.decode(bytes, shape)).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
    }
    // Two places of 7 bits.
    const few = topkCodec({ share: 0.02, random: 0 }, fp32)
    refused(few, [1, 100], (bytes) => (bytes[0] = 0x01))
    refused(few, [1, 100], (bytes) => bytes.set([0xff, 0x3f]))
    const many = topkCodec({ share: 0.5, random: 0 }, fp32)
    refused(many, [1, 8], (bytes) => (bytes[0] = 0x1f))
    refused(many, [1, 8], (bytes) => (bytes[0] = 0x07))
  })
})
