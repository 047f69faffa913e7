import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dropoutMask, type MaskKey } from './dropout.js'

const KEY: MaskKey = { seed: 1, client: 'client-0', round: 1, step: 0, micro: 0 }
const PATH = 'transformer.h.0.attn.c_attn'
const WIDTH = 5

test('drops about one number in as many as the rate says, and scales up the others so that the mean stays', () => {
  const { shape, data } = dropoutMask(KEY, PATH, [1000], 20, 0.25)
  expect(shape).toEqual([1000, 20])
  expect(new Set(data)).toEqual(new Set([0, Math.fround(1 / 0.75)]))
  // 20,000 draws: the share dropped has a standard deviation of 0.003.
  const dropped = data.filter((value) => value === 0).length / data.length
  expect(Math.abs(dropped - 0.25)).toBeLessThan(0.015)
})

test("a row's mask does not depend on the rows beside it", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(lengths, lengths, (one, other) => {
      const mask = (rows: number[]) => dropoutMask(KEY, PATH, rows, WIDTH, 0.5).data
      const start = (rows: number[], row: number): number => rows.slice(0, row).reduce((sum, length) => sum + length, 0) * WIDTH
      for (let row = 0; row < Math.min(one.length, other.length); row++) {
        const shared = Math.min(one[row], other[row]) * WIDTH
        const part = (rows: number[]) => mask(rows).subarray(start(rows, row), start(rows, row) + shared)
        expect(part(one)).toEqual(part(other))
      }
    }),
  )
})

test.each([
  ['seed', { ...KEY, seed: 2 }, PATH],
  ['client', { ...KEY, client: 'client-1' }, PATH],
  ['round', { ...KEY, round: 2 }, PATH],
  ['step', { ...KEY, step: 1 }, PATH],
  ['micro-batch', { ...KEY, micro: 1 }, PATH],
  ['module', KEY, 'transformer.h.1.attn.c_attn'],
])('another %s has another mask', (_, key, path) => {
  const mask = (k: MaskKey, p: string) => dropoutMask(k, p, [8], 16, 0.5).data
  expect(mask(key, path)).not.toEqual(mask(KEY, PATH))
  expect(mask(key, path)).toEqual(mask({ ...key }, path))
})
