import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BusyMeter, busyShare, type BusyTally } from './busy-share.js'

describe("a process's tally", () => {
  test('counts programs between the first step and the last, and none before or after', () => {
    const meter = new BusyMeter()
    meter.ran(1000) // the evaluation before training
    meter.stepBegan(10)
    meter.ran(5)
    meter.stepBegan(12)
    meter.ran(7)
    meter.stepEnded(30)
    meter.ran(100) // an evaluation between two rounds
    meter.stepBegan(140)
    meter.stepEnded(150)
    meter.ran(1000) // the last evaluation
    expect(meter.tally).toEqual({ firstMicros: 10, lastMicros: 150, processorMicros: 112 })
  })

  test('of a process without a step has no time in it', () => {
    const meter = new BusyMeter()
    meter.ran(5)
    expect(meter.tally).toEqual({ firstMicros: null, lastMicros: null, processorMicros: 0 })
  })

  test('is not known once one program is not', () => {
    const meter = new BusyMeter()
    meter.stepBegan(0)
    meter.ran(5)
    meter.ran(null)
    meter.stepEnded(10)
    expect(meter.tally.processorMicros).toBeNull()
  })
})

describe('the busy share', () => {
  const tally = (firstMicros: number, lastMicros: number, processorMicros: number): BusyTally => ({
    firstMicros,
    lastMicros,
    processorMicros,
  })

  test('is processor time of all processes over the time of all cores', () => {
    // From 0 to 100 on 2 cores: 200; of these 60 + 90 were spent.
    expect(busyShare([tally(0, 80, 60), tally(20, 100, 90)], 2)).toBe(0.75)
  })

  test('counts a process that made no step by what it ran, which is nothing', () => {
    expect(busyShare([tally(0, 100, 100), { firstMicros: null, lastMicros: null, processorMicros: 0 }], 2)).toBe(0.5)
  })

  test.each<[string, readonly BusyTally[]]>([
    ['no process', []],
    ['no step', [{ firstMicros: null, lastMicros: null, processorMicros: 0 }]],
    ['a step that was never ended', [{ firstMicros: 3, lastMicros: null, processorMicros: 0 }]],
    ['unknown processor time', [tally(0, 10, 5), { firstMicros: 0, lastMicros: 10, processorMicros: null }]],
    ['no time at all', [tally(5, 5, 0)]],
  ])('is unknown with %s', (_, tallies) => {
    expect(busyShare(tallies, 2)).toBeNull()
  })

  test('does not depend on how the work is divided among processes', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 8 }), (parts) => {
        const sum = parts.reduce((a, b) => a + b)
        const share = busyShare(
          parts.map((part) => tally(0, 5000, part)),
          4,
        )
        expect(share).toBeCloseTo(busyShare([tally(0, 5000, sum)], 4)!, 12)
      }),
    )
  })
})
