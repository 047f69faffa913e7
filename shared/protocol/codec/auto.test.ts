import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { choiceOfLate, choose, firstChoice, MOST_SHARE, readingOf, type LinkReading, type RoundMeasurement } from './auto.js'
import { AUTO_LADDER } from './ladder.js'
import { readCodecName } from './name.js'
import type { Direction } from './setting.js'

const DIRECTIONS: readonly Direction[] = ['activations', 'gradients']
const PLENTY = 1
const reading: LinkReading = { round: 1, bytesPerSecond: 1e6, stepSeconds: 2, fp32BytesPerStep: 1e6 }

const anyReading = fc.record({
  round: fc.constant(1),
  bytesPerSecond: fc.double({ min: 1, max: 1e12, noNaN: true }),
  stepSeconds: fc.double({ min: 0, max: 1e4, noNaN: true }),
  fp32BytesPerStep: fc.double({ min: 0, max: 1e10, noNaN: true }),
})
const anyBudget = fc.double({ min: 0, max: 1, noNaN: true })

describe('the ladder', () => {
  test.each(DIRECTIONS)('has codecs that there are, and %s take no more bytes from rung to rung', (direction) => {
    for (const { [direction]: own } of AUTO_LADDER) expect(readCodecName(own.codec, direction)).toHaveProperty('parts')
    const shares = AUTO_LADDER.map(({ [direction]: own }) => own.share)
    expect(shares).toEqual([...shares].sort((a, b) => b - a))
  })

  test('costs no less from rung to rung, and the default budget allows more than the safest', () => {
    const losses = AUTO_LADDER.map(({ lossIncrease }) => lossIncrease)
    expect(losses).toEqual([...losses].sort((a, b) => a - b))
    expect(losses[1]).toBeLessThanOrEqual(0.001)
  })
})

describe.each(DIRECTIONS)('the choice for %s', (direction) => {
  const rungOf = (codec: string): number => AUTO_LADDER.findIndex((rung) => rung[direction].codec === codec)
  const secondsOf = (index: number, { fp32BytesPerStep, bytesPerSecond }: LinkReading): number =>
    (fp32BytesPerStep * AUTO_LADDER[index][direction].share) / bytesPerSecond!

  test('is the least coarse that fits into a quarter of a step, else the coarsest within the budget', () => {
    fc.assert(
      fc.property(anyReading, anyBudget, (link, budget) => {
        const chosen = choose(direction, budget, link)
        const allowed = AUTO_LADDER.flatMap(({ lossIncrease }, index) => (index === 0 || lossIncrease <= budget ? [index] : []))
        const fits = (index: number): boolean => secondsOf(index, link) <= MOST_SHARE * link.stepSeconds
        const expected = allowed.find(fits) ?? allowed.at(-1)!
        expect(chosen.codec).toBe(AUTO_LADDER[expected][direction].codec)
        expect(chosen.transferSeconds).toBeCloseTo(secondsOf(expected, link))
        expect(chosen.reading).toBe(link)
        expect(choose(direction, budget, link)).toEqual(chosen)
      }),
    )
  })

  test('is never coarser on a faster link, or within a smaller budget', () => {
    fc.assert(
      fc.property(anyReading, anyBudget, fc.double({ min: 1, max: 1000, noNaN: true }), (link, budget, factor) => {
        const rung = rungOf(choose(direction, budget, link).codec)
        const faster = { ...link, bytesPerSecond: link.bytesPerSecond * factor }
        expect(rungOf(choose(direction, budget, faster).codec)).toBeLessThanOrEqual(rung)
        expect(rungOf(choose(direction, budget / factor, link).codec)).toBeLessThanOrEqual(rung)
      }),
    )
  })

  test('is the safest before anything is measured, on a link too fast to tell, and without any budget', () => {
    const safest = AUTO_LADDER[0][direction].codec
    expect(firstChoice(direction)).toMatchObject({ codec: safest, reading: null })
    expect(choose(direction, PLENTY, { ...reading, bytesPerSecond: null })).toMatchObject({ codec: safest, transferSeconds: null })
    expect(choose(direction, 0, { ...reading, bytesPerSecond: 1 }).codec).toBe(safest)
    expect(choiceOfLate(direction, 0, 3).codec).toBe(safest)
  })

  test('is the coarsest within the budget for a client that did not come to the end of its round, and says so', () => {
    const late = choiceOfLate(direction, PLENTY, 3)
    expect(late.codec).toBe(AUTO_LADDER.at(-1)![direction].codec)
    expect(late.reason).toContain('did not finish round 3')
  })
})

describe('what a round tells of the link', () => {
  const measured: RoundMeasurement = {
    round: 4,
    steps: 2,
    upload: { messages: 4, bytes: 8000, seconds: 4.4 },
    download: { messages: 4, bytes: 6000, seconds: 2.4 },
    roundTripSeconds: 0.1,
    computeSeconds: 3,
    waitSeconds: 7,
    fp32Bytes: { activations: 32000, gradients: 30000 },
  }

  test('is its rate while it transfers, without the way there and back, and the time of a step without transfers', () => {
    // 8000 bytes in 4.4 - 4 * 0.1 s; two steps of 3 + 7 - (2.4 - 0.4) s.
    expect(readingOf(measured, 'activations')).toEqual({ round: 4, bytesPerSecond: 2000, stepSeconds: 4, fp32BytesPerStep: 16000 })
    expect(readingOf(measured, 'gradients')).toEqual({ round: 4, bytesPerSecond: 3000, stepSeconds: 4, fp32BytesPerStep: 15000 })
  })

  test('is no rate where messages take no longer than the way there and back, and never less than no time', () => {
    const { bytesPerSecond, stepSeconds } = readingOf({ ...measured, roundTripSeconds: 2, waitSeconds: 0 }, 'activations')
    expect(bytesPerSecond).toBeNull()
    expect(stepSeconds).toBe(1.5)
  })
})
