import { describe, expect, test } from 'vitest'
import { Likeness } from './likeness.js'

describe('a row counts as what it was', () => {
  test.each<[string, number[], number[], boolean]>([
    ['if it is the same', [1, 2, 3], [1, 2, 3], true],
    // A cosine of 1 / sqrt(1 + 0.2^2) = 0.981, and of 0.978.
    ['if it is turned a little', [1, 0.2], [1, 0], true],
    ['not if it is turned more', [1, 0.21], [1, 0], false],
    ['not if it points the other way', [-1, -2], [1, 2], false],
    ['if both are nothing', [0, 0], [0, 0], true],
    ['not if it was nothing', [1, 0], [0, 0], false],
    ['not if it has become nothing', [0, 0], [1, 0], false],
    ['not if it is no number', [NaN, 1], [1, 1], false],
  ])('%s', (_, values, before, expected) => {
    const likeness = new Likeness({ threshold: 0.98, control: false })
    expect(likeness.isAlike(Float32Array.from(values), Float32Array.from(before))).toBe(expected)
  })

  test('even where only equal rows may', () => {
    const values = Float32Array.from({ length: 1000 }, (_, index) => Math.sin(index) * 3)
    expect(new Likeness({ threshold: 1, control: true }).isAlike(values, values.slice())).toBe(true)
  })
})

describe('the threshold', () => {
  /** After rounds of these losses, and the first message of the next. */
  const after = (losses: readonly number[], control = true): number => {
    const likeness = new Likeness({ threshold: 0.98, control })
    for (const [round, loss] of [...losses, 0].entries()) for (const tokens of [3, 5]) likeness.heard(round + 1, loss * tokens, tokens)
    return likeness.threshold
  }

  test('goes up after a round whose loss is better, and down after one that stalled', () => {
    expect(after([4])).toBeCloseTo(0.98, 12)
    expect(after([4, 3])).toBeCloseTo(1 - 0.02 * 0.8, 12)
    expect(after([4, 3, 3])).toBeCloseTo(0.98, 12)
    expect(after([4, 4.5])).toBeCloseTo(1 - 0.02 / 0.8, 12)
  })

  test('stays within a fourth and four times of what it tolerates at first', () => {
    expect(after(Array.from({ length: 20 }, (_, round) => 4 * 0.9 ** round))).toBeCloseTo(1 - 0.02 / 4, 12)
    expect(after(Array.from({ length: 20 }, () => 4))).toBeCloseTo(1 - 0.02 * 4, 12)
  })

  test('stays where it is without control, and after a loss that is no number', () => {
    expect(after([4, 3, 2, 1], false)).toBeCloseTo(0.98, 12)
    expect(after([4, NaN])).toBeCloseTo(0.98, 12)
  })
})
