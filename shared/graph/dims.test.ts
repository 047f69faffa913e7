import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { broadcastShape, dimProduct, dimSum, dimSymbols, evaluateDim, evaluateShape, sameShape, type Dim } from './dims.js'

const bindings = new Map([
  ['batch', 3],
  ['longest', 5],
  ['past', 7],
])

/** Integers, symbols, and sums and products of such. */
const { dim } = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { depthSize: 'small' },
    fc.nat({ max: 4 }),
    fc.constantFrom('batch', 'longest', 'past'),
    fc.array(tie('dim'), { minLength: 2, maxLength: 3 }).map(dimSum),
    fc.array(tie('dim'), { minLength: 2, maxLength: 3 }).map(dimProduct),
  ),
}))

describe('dimensions', () => {
  test('are spelled in one way: symbols sorted, terms in falling order, the number last', () => {
    expect(dimSum(['past', dimProduct([2, 'longest', 'batch']), 3])).toBe('past+2*batch*longest+3')
    expect(dimSum([1, 2])).toBe(3)
    expect(dimSum(['batch', 0])).toBe('batch')
    expect(dimSum([])).toBe(0)
    expect(dimProduct([])).toBe(1)
    expect(dimProduct(['batch', 1])).toBe('batch')
    expect(dimProduct(['batch', 0])).toBe(0)
  })
  test('add and multiply in any order to the same spelling', () => {
    fc.assert(
      fc.property(dim, dim, dim, (a, b, c) => {
        expect(dimSum([a, b])).toBe(dimSum([b, a]))
        expect(dimProduct([a, b])).toBe(dimProduct([b, a]))
        expect(dimSum([dimSum([a, b]), c])).toBe(dimSum([a, dimSum([b, c])]))
        expect(dimProduct([dimProduct([a, b]), c])).toBe(dimProduct([a, dimProduct([b, c])]))
        expect(dimSum([a, b, c])).toBe(dimSum([dimSum([a, b]), c]))
        expect(dimProduct([a, dimSum([b, c])])).toBe(dimSum([dimProduct([a, b]), dimProduct([a, c])]))
      }),
    )
  })
  test('keep their spelling when they are read again', () => {
    fc.assert(
      fc.property(dim, (a) => {
        expect(dimSum([a])).toBe(a)
      }),
    )
  })
  test('evaluate as their parts do', () => {
    const at = (a: Dim) => evaluateDim(a, bindings)
    fc.assert(
      fc.property(dim, dim, (a, b) => {
        expect(at(dimSum([a, b]))).toBe(at(a) + at(b))
        expect(at(dimProduct([a, b]))).toBe(at(a) * at(b))
      }),
    )
  })
  test('name the symbols they are made of, each once', () => {
    expect(dimSymbols(4)).toEqual([])
    expect(dimSymbols('2*batch*batch+batch*past+3').sort()).toEqual(['batch', 'past'])
  })
  test('have no size without one for each symbol', () => {
    expect(evaluateShape(['batch*longest', 2, 'past+1'], bindings)).toEqual([15, 2, 8])
    expect(() => evaluateDim('rows', bindings)).toThrow('no value for the dimension rows')
  })
})

describe('shapes', () => {
  test('are the same where every axis is', () => {
    expect(sameShape(['batch', 2], ['batch', 2])).toBe(true)
    expect(sameShape(['batch', 2], ['batch'])).toBe(false)
    expect(sameShape(['batch', 2], ['longest', 2])).toBe(false)
  })
  test('broadcast alike from either side, and to themselves with a scalar', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(dim, fc.constantFrom('left', 'right', 'both')), { maxLength: 4 }), (axes) => {
        const side = (other: string) => axes.map(([size, kept]) => (kept === other ? 1 : size))
        const whole = axes.map(([size]) => size)
        expect(broadcastShape(side('left'), side('right'))).toEqual(whole)
        expect(broadcastShape(side('right'), side('left'))).toEqual(whole)
        expect(broadcastShape(whole, [])).toEqual(whole)
      }),
    )
  })
  test('align at the end, and refuse sizes that differ', () => {
    expect(broadcastShape(['batch', 1, 4], [3, 1])).toEqual(['batch', 3, 4])
    expect(() => broadcastShape([2], [3])).toThrow('shapes [2] and [3] do not broadcast')
    expect(() => broadcastShape(['batch'], ['longest'])).toThrow(/do not broadcast/)
  })
})
