import fc from 'fast-check'
import { expect, test } from 'vitest'
import { plusMinus, spreadOver } from './spread.js'

test('mean and sample deviation are those worked out by hand', () => {
  // 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, divided by 2.
  const { mean, deviation } = spreadOver([{ a: 2 }, { a: 4 }, { a: 9 }], ['a'])
  expect(mean.a).toBe(5)
  expect(deviation.a).toBeCloseTo(Math.sqrt(13), 12)
})

test('one run has a mean and no deviation; none has neither', () => {
  expect(spreadOver([{ a: 3 }], ['a'])).toEqual({ mean: { a: 3 }, deviation: { a: null } })
  expect(spreadOver<'a'>([], ['a'])).toEqual({ mean: { a: null }, deviation: { a: null } })
})

test('a number that one of the runs lacks has no mean over the others', () => {
  expect(
    spreadOver(
      [
        { a: 1, b: null },
        { a: 3, b: 2 },
      ],
      ['a', 'b'],
    ).mean,
  ).toEqual({ a: 2, b: null })
})

test('moving all numbers moves the mean, and leaves the deviation', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 2 }), fc.integer({ min: -1000, max: 1000 }), (values, by) => {
      const [before, after] = [0, by].map((shift) => spreadOver(values.map((a) => ({ a: a + shift })), ['a'])) // prettier-ignore
      expect(after!.mean.a).toBeCloseTo(before!.mean.a! + by, 8)
      expect(after!.deviation.a).toBeCloseTo(before!.deviation.a!, 8)
    }),
  )
})

test.each([
  [80, 1.254, '80.00 ± 1.25'],
  [80, null, '80.00'],
  [null, null, '-'],
])('%s and %s read %s', (mean, deviation, text) => {
  expect(plusMinus(mean, deviation, (value) => value.toFixed(2))).toBe(text)
})
