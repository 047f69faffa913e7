import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../shared/random.js'
import { iidParts } from './partition-iid.js'
import { partition } from './partition.js'
import type { DataSource } from './source.js'

const source = (units: readonly { owner: string | null; characters: number }[]): DataSource => ({
  name: 'rows.jsonl',
  units: units.map((unit, index) => ({
    ...unit,
    label: null,
    place: `rows.jsonl, line ${index + 1}`,
    tokenise: () => ({ rows: [], truncated: 0, dropped: 0 }),
  })),
})
const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index)
const rising = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b)

describe('iid', () => {
  test('every row goes to one client, and sizes differ by at most one', () => {
    fc.assert(
      fc.property(fc.nat(80), fc.integer({ min: 1, max: 12 }), fc.integer(), (units, parts, seed) => {
        const divided = iidParts(units, parts, derive(seed, 'x'))
        expect(divided).toHaveLength(parts)
        expect(rising(divided.flat())).toEqual(numbers(units))
        const sizes = divided.map((part) => part.length)
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
        for (const part of divided) expect(part).toEqual(rising(part))
        expect(iidParts(units, parts, derive(seed, 'x'))).toEqual(divided)
      }),
    )
  })

  test('another seed divides otherwise', () => {
    const rows = source(numbers(40).map(() => ({ owner: null, characters: 9 })))
    expect(partition(rows, { kind: null, parts: 4, alpha: 0.5, seed: 1 })).not.toEqual(
      partition(rows, { kind: null, parts: 4, alpha: 0.5, seed: 2 }),
    )
  })
})

describe('natural', () => {
  const owned = fc.array(fc.record({ owner: fc.constantFrom('ann', 'bob', 'cy', 'dee', 'eve', '__proto__'), characters: fc.nat(50) }), {
    minLength: 1,
    maxLength: 60,
  })

  test("every row goes to one client, an owner's rows stay together, and no client goes empty", () => {
    fc.assert(
      fc.property(owned, fc.integer({ min: 1, max: 6 }), fc.integer(), (units, parts, seed) => {
        fc.pre(new Set(units.map(({ owner }) => owner)).size >= parts)
        const divided = partition(source(units), { kind: 'natural', parts, alpha: 0.5, seed })
        expect(rising(divided.flat())).toEqual(numbers(units.length))
        const holders = divided.map((part) => new Set(part.map((unit) => units[unit].owner)))
        expect(holders.reduce((sum, holder) => sum + holder.size, 0)).toBe(new Set(units.map(({ owner }) => owner)).size)
        expect(Math.min(...divided.map((part) => part.length))).toBeGreaterThan(0)
        expect(partition(source(units), { kind: null, parts, alpha: 0.5, seed: seed + 1 })).toEqual(divided)
      }),
    )
  })

  test('clients hold about as much text as each other', () => {
    const units = [50, 30, 20, 20, 10, 10].map((characters, index) => ({ owner: `owner-${index}`, characters }))
    const divided = partition(source(units), { kind: 'natural', parts: 2, alpha: 0.5, seed: 0 })
    expect(divided.map((part) => part.reduce((sum, unit) => sum + units[unit].characters, 0))).toEqual([70, 70])
  })

  test('more clients than owners is an error that says how many there are', () => {
    const rows = source(['ann', 'bob', 'ann'].map((owner) => ({ owner, characters: 1 })))
    expect(() => partition(rows, { kind: 'natural', parts: 3, alpha: 0.5, seed: 0 })).toThrow(
      expect.objectContaining({ code: 'CONFIG_VALUE', why: expect.stringContaining('only 2 owners') as string }),
    )
  })

  test('a row without an owner is an error with its line, unless the partition is iid', () => {
    const rows = source(['ann', null, 'bob'].map((owner) => ({ owner, characters: 1 })))
    for (const kind of ['natural', null] as const) {
      expect(() => partition(rows, { kind, parts: 2, alpha: 0.5, seed: 0 })).toThrow(
        expect.objectContaining({ code: 'DATA_ROW_INVALID', what: expect.stringContaining('line 2') as string }),
      )
    }
    expect(partition(rows, { kind: 'iid', parts: 3, alpha: 0.5, seed: 0 }).flat()).toHaveLength(3)
  })
})
