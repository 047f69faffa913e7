import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../shared/random.js'
import { dirichlet } from './dirichlet.js'
import { partition, type PartitionKind } from './partition.js'
import type { DataSource } from './source.js'

interface Unit {
  readonly label: string | null
  readonly characters: number
}

const source = (units: readonly Unit[]): DataSource => ({
  name: 'rows.jsonl',
  units: units.map((unit, index) => ({
    ...unit,
    owner: null,
    place: `rows.jsonl, line ${index + 1}`,
    tokenise: () => ({ rows: [], truncated: 0, dropped: 0 }),
  })),
})
const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index)
const labelled = (count: number, labels: number): Unit[] => numbers(count).map((row) => ({ label: `l${row % labels}`, characters: 5 }))
const KINDS = ['dirichlet', 'shard', 'quantity'] as const satisfies readonly PartitionKind[]

/** Mean over the parts of the distance between a part's labels and those of the whole: 0 alike, towards 1 one label each. */
function skew(units: readonly Unit[], parts: readonly (readonly number[])[]): number {
  const share = (rows: readonly number[], label: string): number => rows.filter((row) => units[row].label === label).length / rows.length
  const labels = [...new Set(units.flatMap(({ label }) => label ?? []))]
  const all = numbers(units.length)
  const distance = (part: readonly number[]): number =>
    labels.reduce((sum, label) => sum + Math.abs(share(part, label) - share(all, label)), 0) / 2
  return parts.reduce((sum, part) => sum + distance(part), 0) / parts.length
}

describe.each(KINDS)('%s', (kind) => {
  const units = fc.oneof(
    fc.array(fc.record({ label: fc.constantFrom('a', 'b', 'c', '__proto__'), characters: fc.nat(50) }), { minLength: 1, maxLength: 60 }),
    fc.array(fc.record({ label: fc.constant(null), characters: fc.nat(50) }), { minLength: 1, maxLength: 60 }),
  )
  const alphas = fc.constantFrom(1e-6, 0.01, 0.5, 1, 30, 1e6)

  test('every row goes to one client, no client goes empty, and the same seed divides the same way', () => {
    fc.assert(
      fc.property(units, fc.integer({ min: 1, max: 12 }), alphas, fc.integer(), (rows, parts, alpha, seed) => {
        fc.pre(rows.length >= parts)
        const divided = partition(source(rows), { kind, parts, alpha, seed })
        expect(divided).toHaveLength(parts)
        expect(divided.flat().sort((a, b) => a - b)).toEqual(numbers(rows.length))
        for (const part of divided) {
          expect(part.length).toBeGreaterThan(0)
          expect(part).toEqual([...part].sort((a, b) => a - b))
        }
        expect(partition(source(rows), { kind, parts, alpha, seed })).toEqual(divided)
      }),
    )
  })

  test('another seed divides otherwise', () => {
    const rows = source(labelled(40, 4))
    const [one, two] = [1, 2].map((seed) => partition(rows, { kind, parts: 4, alpha: 0.5, seed }))
    expect(one).not.toEqual(two)
  })

  test('fewer rows than clients is an error that says so', () => {
    expect(() => partition(source(labelled(3, 2)), { kind, parts: 4, alpha: 0.5, seed: 1 })).toThrow(
      expect.objectContaining({
        code: 'NO_TRAINING_ROWS',
        why: 'it has 3 rows, fewer than there are clients',
        fix: expect.stringContaining('at most 3') as string,
      }) as Error,
    )
  })
})

describe('the mixture of labels', () => {
  const rows = labelled(400, 4)
  const divide = (kind: PartitionKind, alpha: number): number[][] => partition(source(rows), { kind, parts: 8, alpha, seed: 7 })

  test('differs the more between clients, the smaller alpha is, and clients stay equal in size', () => {
    const [low, middle, high] = [0.01, 1, 100].map((alpha) => divide('dirichlet', alpha))
    expect(skew(rows, low)).toBeGreaterThan(skew(rows, middle) + 0.05)
    expect(skew(rows, middle)).toBeGreaterThan(skew(rows, high) + 0.1)
    for (const parts of [low, middle, high]) expect(parts.map((part) => part.length)).toEqual(Array<number>(8).fill(50))
  })

  test('is of at most two labels where shards divide labels evenly', () => {
    const labels = divide('shard', 0.5).map((part) => new Set(part.map((row) => rows[row].label)).size)
    expect(Math.max(...labels)).toBeLessThanOrEqual(2)
  })

  test.each(['dirichlet', 'shard'] as const)('is of lengths for %s where rows carry no label', (kind) => {
    // Measured by length; rows dealt in turn are the comparison.
    const lengths = numbers(400).map((row) => ({ label: null, characters: 10 * (row % 10) }))
    const parts = partition(source(lengths), { kind, parts: 8, alpha: 0.01, seed: 7 })
    const measured = lengths.map(({ characters }) => ({ label: String(characters), characters }))
    expect(skew(measured, parts)).toBeGreaterThan(0.5)
    expect(
      skew(
        measured,
        numbers(8).map((part) => numbers(50).map((row) => row * 8 + part)),
      ),
    ).toBeLessThan(0.5)
  })

  test.each(['dirichlet', 'shard'] as const)('cannot be told for %s where only some rows carry a label', (kind) => {
    const mixed = source([
      { label: 'a', characters: 1 },
      { label: null, characters: 1 },
    ])
    expect(() => partition(mixed, { kind, parts: 2, alpha: 0.5, seed: 1 })).toThrow(
      expect.objectContaining({ code: 'DATA_ROW_INVALID', what: 'rows.jsonl, line 2: the row has no label' }) as Error,
    )
  })
})

test('the sizes of quantity differ the more, the smaller alpha is', () => {
  const spread = [0.05, 1, 100].map((alpha) => {
    const sizes = partition(source(labelled(400, 4)), { kind: 'quantity', parts: 8, alpha, seed: 3 }).map((part) => part.length)
    return Math.max(...sizes) - Math.min(...sizes)
  })
  expect(spread).toEqual([...spread].sort((a, b) => b - a))
  expect(new Set(spread).size).toBe(3)
})

describe('a Dirichlet draw', () => {
  test('is of shares that sum to 1, however small the concentration', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(1e-12, 0.01, 1, 1e6), { minLength: 1, maxLength: 9 }), fc.integer(), (shapes, seed) => {
        const shares = dirichlet(shapes, derive(seed, 'x'))
        expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12)
        for (const share of shares) expect(share).toBeGreaterThanOrEqual(0)
      }),
    )
  })

  test('has the mean and variance of the distribution', () => {
    // Mean a_i / a_0 and variance m (1 - m) / (a_0 + 1), for Dir(0.5, 1.5): 0.25 and 0.0625.
    const random = derive(5, 'moments')
    const draws = numbers(20_000).map(() => dirichlet([0.5, 1.5], random)[0])
    const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length
    const variance = draws.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws.length
    expect(mean).toBeCloseTo(0.25, 2)
    expect(variance).toBeCloseTo(0.0625, 2)
  })
})
