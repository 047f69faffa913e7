import { describe, expect, test } from 'vitest'
import { remember, RowMemory } from './row-memory.js'

const row = (...values: number[]): Float32Array => Float32Array.from(values)

describe('what is held of rows', () => {
  test('is never more than the cap: the least recently told leave', () => {
    const memory = new RowMemory(3 * 8)
    for (const number of [1, 2, 3, 1, 4]) memory.set(number, { version: number, values: row(number, 0) })
    expect([1, 2, 3, 4].map((number) => memory.get(number, 2)?.version)).toEqual([1, undefined, 3, 4])
    expect(memory.bytes).toBe(24)
    memory.set(5, { version: 5, values: row(1, 2, 3, 4, 5, 6, 7) })
    expect(memory.get(5, 7)).toBeNull()
    expect(memory.bytes).toBe(0)
  })

  test('is not of a row that has got another length', () => {
    const memory = new RowMemory(100)
    memory.set(1, { version: 1, values: row(1, 2) })
    expect(memory.get(1, 3)).toBeNull()
  })

  test('is a copy of the batch, row by row; of a row that comes twice the first, and nothing that is not finite', () => {
    const memory = new RowMemory(100)
    memory.set(9, { version: 1, values: row(5, 5) })
    const values = row(1, 2, 3, 4, 5, 6, NaN, 8)
    remember(memory, { numbers: [7, 8, 7, 9], lengths: [1, 1, 1, 1] }, 2, 3, values)
    values.fill(0)
    expect(memory.get(7, 2)).toEqual({ version: 3, values: row(1, 2) })
    expect(memory.get(8, 2)).toEqual({ version: 3, values: row(3, 4) })
    expect(memory.get(9, 2)).toBeNull()
  })
})
