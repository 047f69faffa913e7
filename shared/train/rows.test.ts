import { expect, test } from 'vitest'
import { scoredTokens } from './rows.js'

test('scored tokens are counted by their flags', () => {
  const row = { ids: Int32Array.of(5, 6, 7, 8), scored: Uint8Array.of(0, 0, 1, 1), bytes: 2 }
  expect(scoredTokens(row)).toBe(2)
})
