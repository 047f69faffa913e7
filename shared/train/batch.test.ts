import fc from 'fast-check'
import { expect, test } from 'vitest'
import { layoutOf, packBatch } from './batch.js'
import type { TokenRow } from './rows.js'

const row = (ids: number[], scored: number[]): TokenRow => ({ ids: Int32Array.from(ids), scored: Uint8Array.from(scored), bytes: 0 })

test('a batch holds real tokens only, and the position before a scored token predicts it', () => {
  const batch = packBatch([row([10, 11, 12], [0, 0, 1]), row([20, 21], [0, 1]), row([30, 31, 32, 33], [0, 1, 0, 1])])
  expect([...batch.lengths]).toEqual([3, 2, 4])
  expect([...batch.ids.data]).toEqual([10, 11, 12, 20, 21, 30, 31, 32, 33])
  expect([...batch.positions.data]).toEqual([0, 1, 2, 0, 1, 0, 1, 2, 3])
  expect(batch.slots.shape).toEqual([3, 4])
  expect([...batch.slots.data]).toEqual([0, 1, 2, -1, 3, 4, -1, -1, 5, 6, 7, 8])
  expect([...batch.places.data]).toEqual([0, 1, 2, 4, 5, 8, 9, 10, 11])
  expect([...batch.scored.data]).toEqual([1, 3, 5, 7])
  expect([...batch.targets.data]).toEqual([12, 21, 31, 33])
  expect([...batch.scoredMask]).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0])
})

test('the last position of a row never predicts the first token of the next', () => {
  const tokenRow = fc.array(fc.tuple(fc.nat(90), fc.constantFrom(0, 1)), { minLength: 2, maxLength: 7 }).map((tokens) =>
    row(
      tokens.map(([id]) => id),
      tokens.map(([, flag], index) => (index === 0 ? 0 : flag)),
    ),
  )
  fc.assert(
    fc.property(fc.array(tokenRow, { minLength: 1, maxLength: 5 }), (rows) => {
      const batch = packBatch(rows)
      const predicted = rows.flatMap(({ ids, scored }) => [...ids].filter((_, index) => scored[index] === 1))
      expect([...batch.targets.data]).toEqual(predicted)
      let end = -1
      for (const { ids } of rows) {
        end += ids.length
        expect(batch.scoredMask[end]).toBe(0)
      }
    }),
  )
})

test('slots and places are each the other way round', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 }), (lengths) => {
      const { positions, slots, places } = layoutOf(lengths)
      const longest = Math.max(...lengths)
      expect(slots.shape).toEqual([lengths.length, longest])
      places.data.forEach((place, token) => {
        expect(slots.data[place]).toBe(token)
        expect(place % longest).toBe(positions.data[token])
      })
      expect(slots.data.filter((token) => token >= 0)).toHaveLength(places.data.length)
    }),
  )
})
