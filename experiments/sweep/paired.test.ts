import { expect, test } from 'vitest'
import { derive } from '../../shared/random.js'
import { relativeDifference } from './paired.js'

test('the difference of pairs is that of their ratios, with the interval of Student for so few', () => {
  // Differences 0.01, 0.02, 0.03: mean 0.02, deviation 0.01; 4.303 * 0.01 / sqrt(3).
  const interval = relativeDifference([
    [1.01, 1],
    [2.04, 2],
    [4.12, 4],
  ])!
  expect(interval.mean).toBeCloseTo(0.02, 12)
  expect(interval.high! - interval.mean).toBeCloseTo(0.024844, 5)
  expect(interval.mean - interval.low!).toBeCloseTo(0.024844, 5)
})

test('one pair has no interval, and none has no difference', () => {
  expect(relativeDifference([[3, 2]])).toEqual({ mean: 0.5, low: null, high: null })
  expect(relativeDifference([])).toBeNull()
})

test('about 95 of 100 intervals hold the true difference', () => {
  const random = derive(1, 'intervals')
  const trials = 2000
  let held = 0
  for (let trial = 0; trial < trials; trial++) {
    const { low, high } = relativeDifference(Array.from({ length: 5 }, () => [1.02 + 0.01 * random.normal(), 1]))!
    if (low! <= 0.02 && high! >= 0.02) held++
  }
  expect(Math.abs(held / trials - 0.95)).toBeLessThan(0.02)
})
