import fc from 'fast-check'
import { expect, test } from 'vitest'
import { packRows } from './packed-rows.js'
import type { TokenRow } from './rows.js'

const row = fc
  .array(fc.tuple(fc.nat(), fc.constantFrom(0, 1)), { minLength: 2, maxLength: 9 })
  .chain((tokens) => fc.record({ tokens: fc.constant(tokens), bytes: fc.nat() }))
  .map(({ tokens, bytes }): TokenRow => {
    return { ids: Int32Array.from(tokens, ([id]) => id), scored: Uint8Array.from(tokens, ([, flag]) => flag), bytes }
  })

test('rows come out as they went in', () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 6 }), (rows) => {
      const packed = packRows(rows)
      expect(packed.length).toBe(rows.length)
      expect(packed.open()).toEqual(rows)
    }),
  )
})

test('a change to what was packed does not reach the rows', () => {
  const given = { ids: Int32Array.of(1, 2), scored: Uint8Array.of(0, 1), bytes: 3 }
  const packed = packRows([given])
  given.ids.fill(9)
  expect(packed.open()[0]!.ids).toEqual(Int32Array.of(1, 2))
})
