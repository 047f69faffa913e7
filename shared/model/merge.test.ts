import fc from 'fast-check'
import { expect, test } from 'vitest'
import { f32 } from '../tensor.js'
import { addLowRank, lowRankOf } from './merge.js'

// A = [[1, 2, 3]], B = [[10], [20]]: B A = [[10, 20, 30], [20, 40, 60]].
const adapter = new Map([
  ['layer.lora_A.weight', f32([1, 3], [1, 2, 3])],
  ['layer.lora_B.weight', f32([2, 1], [10, 20])],
])

test('a weight stored as [out, in] gets scale B A, worked out by hand', () => {
  const weight = Float32Array.of(1, 1, 1, 2, 2, 2)
  addLowRank(weight, 0, lowRankOf(adapter, 'layer', 0.5, false))
  expect([...weight]).toEqual([6, 11, 16, 12, 22, 32])
})

test('a weight stored as [in, out] gets its transpose', () => {
  const weight = Float32Array.of(1, 2, 1, 2, 1, 2)
  addLowRank(weight, 0, lowRankOf(adapter, 'layer', 0.5, true))
  expect([...weight]).toEqual([6, 12, 11, 22, 16, 32])
})

test('it makes no difference in what parts a weight is taken', () => {
  const size = fc.integer({ min: 1, max: 6 })
  const matrix = (values: number): fc.Arbitrary<number[]> =>
    fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: values, maxLength: values })
  const cases = fc.tuple(size, size, size, fc.boolean()).chain(([rank, width, out, fanInFanOut]) =>
    fc.record({
      product: fc
        .tuple(matrix(rank * width), matrix(out * rank))
        .map(
          ([a, b]) =>
            new Map([
              ...([
                ['x.lora_A.weight', f32([rank, width], a)],
                ['x.lora_B.weight', f32([out, rank], b)],
              ] as const),
            ]),
        )
        .map((tensors) => lowRankOf(tensors, 'x', 2, fanInFanOut)),
      weight: matrix(width * out),
      piece: fc.integer({ min: 1, max: 7 }),
    }),
  )
  fc.assert(
    fc.property(cases, ({ product, weight, piece }) => {
      const whole = Float32Array.from(weight)
      addLowRank(whole, 0, product)
      const parts = Float32Array.from(weight)
      for (let start = 0; start < parts.length; start += piece) addLowRank(parts.subarray(start, start + piece), start, product)
      expect(parts).toEqual(whole)
    }),
  )
})
