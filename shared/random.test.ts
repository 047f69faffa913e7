import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive, philox4x32 } from './random.js'

describe('Philox4x32-10', () => {
  // Random123 1.14.0, tests/kat_vectors, the lines `philox4x32 10`: counter, key, expected.
  test.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('gives the published answer for counter %j', ([c0, c1, c2, c3], [key0, key1], expected) => {
    const out = new Uint32Array(4)
    philox4x32(out, c0, c1, c2, c3, key0, key1)
    expect([...out]).toEqual(expected)
  })
})

const draw = (seed: number, ...key: (string | number)[]): number[] => {
  const random = derive(seed, ...key)
  return Array.from({ length: 8 }, () => random.uint32())
}

describe('streams', () => {
  test('the same seed and key give the same numbers, for ever', () => {
    expect(draw(42, 'order', 'client-0', 3)).toEqual(draw(42, 'order', 'client-0', 3))
    // Pinned: a change here changes every run with the same seed.
    expect(draw(42, 'order', 'client-0', 3).slice(0, 3)).toEqual([4133239171, 4221009723, 3206920880])
  })

  test('keys that look alike are different streams', () => {
    const keys: (string | number)[][] = [
      [],
      ['a', 'bc'],
      ['ab', 'c'],
      ['abc'],
      ['a', 'b', 'c'],
      [1],
      ['1'],
      ['1', ''],
      ['', '1'],
      [1, 0],
      [0, 1],
      [-1],
      [0.5],
    ]
    const streams = keys.map((key) => draw(7, ...key).join())
    expect(new Set(streams).size).toBe(keys.length)
    expect(draw(8).join()).not.toBe(draw(7).join())
    expect(draw(-0)).toEqual(draw(0))
  })

  test('streams of neighbouring keys agree in about one bit of two', () => {
    let equalBits = 0
    for (let key = 0; key < 200; key++) {
      const [a, b] = [draw(42, 'x', key), draw(42, 'x', key + 1)]
      for (let word = 0; word < 8; word++) {
        for (let bits = ~(a[word] ^ b[word]) >>> 0; bits > 0; bits >>>= 1) equalBits += bits & 1
      }
    }
    // 51,200 bits: five standard deviations of a fair coin are 566.
    expect(Math.abs(equalBits - 25600)).toBeLessThan(566)
  })
})

describe('numbers', () => {
  test('an integer below n is in range, and every value is about equally likely', () => {
    const random = derive(1, 'below')
    const counts = new Array<number>(6).fill(0)
    for (let draw = 0; draw < 60000; draw++) counts[random.below(6)]++
    for (const count of counts) expect(Math.abs(count - 10000)).toBeLessThan(460) // five standard deviations
    expect(derive(1, 'one').below(1)).toBe(0)
    expect(derive(1, 'all').below(2 ** 32)).toBe(derive(1, 'all').uint32())
  })

  test('uniform and normal numbers have their mean and variance', () => {
    const random = derive(3, 'moments')
    const count = 100000
    const uniform = Array.from({ length: count }, () => random.uniform())
    const normal = Array.from({ length: count }, () => random.normal())
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / count
    const variance = (values: number[]): number => mean(values.map((value) => value * value)) - mean(values) ** 2
    expect(Math.min(...uniform.slice(0, 50000))).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform.slice(0, 50000))).toBeLessThan(1)
    // Five standard errors: of the mean sqrt(var/n), of the variance sqrt(2/n) for the normal, sqrt(1/180 n) for the uniform.
    expect(Math.abs(mean(uniform) - 1 / 2)).toBeLessThan(0.0046)
    expect(Math.abs(variance(uniform) - 1 / 12)).toBeLessThan(0.0012)
    expect(Math.abs(mean(normal))).toBeLessThan(0.0159)
    expect(Math.abs(variance(normal) - 1)).toBeLessThan(0.0224)
  })

  test('filling an array gives the words of the stream, wherever the stream stands', () => {
    fc.assert(
      fc.property(fc.nat(9), fc.nat(40), (skip, length) => {
        const filled = derive(5, 'fill')
        const single = derive(5, 'fill')
        for (let draw = 0; draw < skip; draw++) expect(filled.uint32()).toBe(single.uint32())
        const out = new Float32Array(length)
        filled.fillUniform(out, -2, 2)
        expect([...out]).toEqual(Array.from({ length }, () => Math.fround(-2 + ((single.uint32() >>> 8) * 4) / 2 ** 24)))
        expect(filled.uint32()).toBe(single.uint32())
      }),
    )
  })

  test('filling with normal numbers gives the stream scaled and shifted', () => {
    const out = new Float32Array(5)
    derive(5, 'n').fillNormal(out, 1, 0.02)
    const single = derive(5, 'n')
    expect([...out]).toEqual(Array.from({ length: 5 }, () => Math.fround(1 + 0.02 * single.normal())))
  })

  test('a permutation holds every number once', () => {
    fc.assert(
      fc.property(fc.nat(300), fc.integer(), (n, seed) => {
        const order = derive(seed, 'p').permutation(n)
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, index) => index))
      }),
    )
  })

  test('every permutation of three is about equally likely', () => {
    const counts = new Map<string, number>()
    for (let key = 0; key < 6000; key++) {
      const order = derive(9, key).permutation(3).join()
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(145) // five standard deviations
  })
})
