import { expect, test } from 'vitest'
import { addSums, finiteOrNull, lossReport } from './metrics.js'

test('losses are means over all scored tokens, not means of means', () => {
  const report = lossReport(
    addSums([
      { nll: 2, tokens: 1, bytes: 4 },
      { nll: 6 * Math.LN2 - 2, tokens: 2, bytes: 8 },
    ]),
  )
  expect(report.loss).toBeCloseTo(2 * Math.LN2, 12)
  expect(report.perplexity).toBeCloseTo(4, 12)
  expect(report.bitsPerByte).toBeCloseTo(0.5, 12)
  expect(report).not.toHaveProperty('reason')
})

test.each([NaN, Infinity, null])('a sum of %s is null with a reason, also in a total', (nll) => {
  const nothing = { loss: null, perplexity: null, bitsPerByte: null, reason: 'the loss is not a finite number' }
  expect(lossReport({ nll, tokens: 3, bytes: 3 })).toEqual(nothing)
  const total = addSums([
    { nll, tokens: 3, bytes: 3 },
    { nll: 1, tokens: 1, bytes: 1 },
  ])
  expect(lossReport(total)).toEqual(nothing)
})

test('no scored tokens, no text and a perplexity beyond float64 each have their reason', () => {
  expect(lossReport(addSums([]))).toEqual({ loss: null, perplexity: null, bitsPerByte: null, reason: 'no scored tokens' })
  expect(lossReport({ nll: 1, tokens: 1, bytes: 0 })).toEqual({
    loss: 1,
    perplexity: Math.E,
    bitsPerByte: null,
    reason: 'the scored text has no bytes',
  })
  expect(lossReport({ nll: 800, tokens: 1, bytes: 1 })).toMatchObject({
    loss: 800,
    perplexity: null,
    reason: 'the perplexity is too large',
  })
})

test('JSON gets null in place of what it cannot hold', () => {
  expect([1.5, NaN, -Infinity].map(finiteOrNull)).toEqual([1.5, null, null])
})
