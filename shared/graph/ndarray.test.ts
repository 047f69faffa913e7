import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkedIndex, NdArray, stridesOf, walk } from './ndarray.js'
import { expectArray, f64 } from './testing/forward.js'

const shape = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 })

describe('NdArray', () => {
  test('refuses data that does not fill its shape', () => {
    expect(() => f64([2, 2], [1, 2, 3])).toThrow('3 values for shape [2, 2]')
    expect(() => f64([2], [1, 2]).reshape([3])).toThrow('2 values for shape [3]')
  })
  test('copies what it is made from', () => {
    const data = Float64Array.of(1, 2)
    const array = NdArray.from([2], data)
    data[0] = 9
    expectArray(array, [2], [1, 2])
  })
  test('stretches axes of 1 and missing leading axes', () => {
    expectArray(
      f64([2, 1], [10, 20]).zip(f64([3], [1, 2, 3]), (a, b) => a + b),
      [2, 3],
      [11, 12, 13, 21, 22, 23],
    )
    expectArray(
      f64([], [10]).zip(f64([2], [1, 2]), (a, b) => a - b),
      [2],
      [9, 8],
    )
    expectArray(
      f64([1, 2], [1, 2]).zip(f64([0, 1], []), (a, b) => a + b),
      [0, 2],
      [],
    )
  })
  test.each([
    [[2], [3]],
    [[3], [2]],
    [
      [0, 2],
      [3, 1],
    ],
  ])('refuses to stretch %j to %j', (left, right) => {
    expect(() => NdArray.zeros(left).zip(NdArray.zeros(right), (a) => a)).toThrow(/do not broadcast/)
  })
  test('sums what it stretched back to as many times itself', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.boolean()), { maxLength: 4 }), (axes) => {
        const small = axes.map(([size, stretched]) => (stretched ? 1 : size))
        const times = axes.reduce((product, [size, stretched]) => (stretched ? product * size : product), 1)
        const array = NdArray.zeros(small).map(() => 0)
        array.data.forEach((_, at) => (array.data[at] = at + 1))
        const whole = NdArray.zeros(axes.map(([size]) => size))
        expectArray(whole.zip(array, (_, v) => v).sumTo(small), small, [...array.map((v) => v * times).data])
      }),
    )
  })
  test('refuses to sum to a shape it was not stretched from', () => {
    expect(() => NdArray.zeros([2, 3]).sumTo([2])).toThrow('shape [2, 3] does not sum to [2]')
    expect(() => NdArray.zeros([1]).sumTo([2])).toThrow(/does not sum/)
  })
})

describe('walk', () => {
  test('visits every element once, in the order of its strides', () => {
    fc.assert(
      fc.property(shape, (sizes) => {
        const strides = stridesOf(sizes)
        let count = 0
        walk(sizes, (position, index) => {
          expect(position).toBe(count++)
          expect(index.reduce((sum, at, axis) => sum + at * strides[axis], 0)).toBe(position)
          index.forEach((at, axis) => expect(at).toBeLessThan(sizes[axis]))
        })
        expect(count).toBe(sizes.reduce((product, size) => product * size, 1))
      }),
    )
  })
  test('visits a scalar once', () => {
    const seen: number[] = []
    walk([], (position) => seen.push(position))
    expect(seen).toEqual([0])
  })
})

describe('checkedIndex', () => {
  test('passes what lies within, and names what does not', () => {
    expect(checkedIndex('gather', 2, 3)).toBe(2)
    for (const index of [-1, 3, 0.5, NaN]) expect(() => checkedIndex('gather', index, 3)).toThrow(`gather: index ${index} is not in 0..2`)
  })
})
