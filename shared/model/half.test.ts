import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBF16, decodeF16, encodeBF16, encodeF16 } from './half.js'

const allHalves = Uint16Array.from({ length: 65536 }, (_, index) => index)
const isNaNHalf = (half: number): boolean => (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0
const isNaNBrain = (brain: number): boolean => (brain & 0x7f80) === 0x7f80 && (brain & 0x7f) !== 0

/** All finite magnitudes of a format, ascending: its codes count up with its values. */
function finite(decode: (codes: Uint16Array) => Float32Array, infinity: number): Float32Array {
  return decode(Uint16Array.from({ length: infinity }, (_, index) => index))
}

/** The code of the nearest value, ties to the even code, found by bisection among all values: slow and plainly right. */
function nearestCode(value: number, magnitudes: Float32Array, overflow: number): number {
  const magnitude = Math.abs(value)
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  let low = 0
  let high = magnitudes.length
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (magnitudes[middle] <= magnitude) low = middle
    else high = middle
  }
  const above = high === magnitudes.length ? overflow : magnitudes[high]
  const toLow = magnitude - magnitudes[low]
  const toHigh = above - magnitude
  return sign | (toLow < toHigh || (toLow === toHigh && low % 2 === 0) ? low : high)
}

describe('F16', () => {
  test('decodes the values that IEEE 754 gives', () => {
    // IEEE 754-2019, binary16: one, the largest finite, the smallest normal, the smallest subnormal, minus two, one third.
    const values = decodeF16(Uint16Array.of(0x3c00, 0x7bff, 0x0400, 0x0001, 0xc000, 0x3555, 0x7c00, 0x8000))
    expect([...values]).toEqual([1, 65504, 2 ** -14, 2 ** -24, -2, 0.333251953125, Infinity, -0])
  })
  test('every half survives a round trip, and a NaN stays one', () => {
    const back = encodeF16(decodeF16(allHalves))
    for (const half of allHalves) {
      if (isNaNHalf(half)) expect(isNaNHalf(back[half])).toBe(true)
      else if (back[half] !== half) expect(back[half]).toBe(half)
    }
  })
  test('encodes to the nearest half, ties to even', () => {
    const magnitudes = finite(decodeF16, 0x7c00)
    const tie = fc.nat(0x7bfe).map((code) => (magnitudes[code] + magnitudes[code + 1]) / 2)
    fc.assert(
      fc.property(fc.oneof(fc.float({ noNaN: true }), fc.float({ noNaN: true, min: -65536, max: 65536 }), tie), (value) => {
        const expected = Number.isFinite(value) ? nearestCode(value, magnitudes, 65536) : value < 0 ? 0xfc00 : 0x7c00
        expect(encodeF16(Float32Array.of(value))[0]).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('BF16', () => {
  test('every value survives a round trip, and a NaN stays one', () => {
    const back = encodeBF16(decodeBF16(allHalves))
    for (const brain of allHalves) {
      if (isNaNBrain(brain)) expect(isNaNBrain(back[brain])).toBe(true)
      else if (back[brain] !== brain) expect(back[brain]).toBe(brain)
    }
  })
  test('encodes to the nearest value, ties to even', () => {
    const magnitudes = finite(decodeBF16, 0x7f80)
    const tie = fc.nat(0x7f7e).map((code) => (magnitudes[code] + magnitudes[code + 1]) / 2)
    fc.assert(
      fc.property(fc.oneof(fc.float({ noNaN: true }), tie), (value) => {
        const expected = Number.isFinite(value) ? nearestCode(value, magnitudes, 2 ** 128) : value < 0 ? 0xff80 : 0x7f80
        expect(encodeBF16(Float32Array.of(value))[0]).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })
  test('a NaN whose low bits alone are set does not turn into an infinity', () => {
    const value = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff).buffer)
    expect([...decodeBF16(encodeBF16(value))]).toEqual([NaN, NaN])
  })
})
