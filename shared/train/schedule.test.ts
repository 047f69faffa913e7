import { expect, test } from 'vitest'
import { scheduledRate, type SchedulerType } from './schedule.js'

// transformers 5.23.0, get_<type>_schedule_with_warmup(optimizer with lr 0.5, warmup, 8), the rates of the steps 0..8.
const rising = [0, 1 / 6, 1 / 3]
const cases: [SchedulerType, number, number[]][] = [
  ['constant', 0.3, [...rising, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]],
  ['linear', 0.3, [...rising, 0.5, 0.4, 0.3, 0.2, 0.1, 0]],
  ['cosine', 0.3, [...rising, 0.5, 0.45225424859373686, 0.32725424859373686, 0.17274575140626316, 0.047745751406263165, 0]],
  ['linear', 0, [0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0]],
]

test.each(cases)("%s with a warm-up of %d of 8 positions, rounded up, gives transformers' rates", (type, warmupRatio, expected) => {
  expected.forEach((rate, position) => {
    expect(scheduledRate({ type, learningRate: 0.5, warmupRatio, positions: 8 }, position)).toBeCloseTo(rate, 12)
  })
})

test('a warm-up over the whole run ends just below the highest rate', () => {
  const schedule = { type: 'linear', learningRate: 1, warmupRatio: 1, positions: 4 } as const
  expect([0, 1, 2, 3].map((position) => scheduledRate(schedule, position))).toEqual([0, 0.25, 0.5, 0.75])
})
