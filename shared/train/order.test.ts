import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../random.js'
import { microBatchNumber, rowOrder, type OrderOptions } from './order.js'

const options = fc.record({
  seed: fc.integer(),
  client: fc.string({ maxLength: 8 }),
  lengths: fc.array(fc.integer({ min: 2, max: 30 }), { minLength: 1, maxLength: 60 }),
  batchSize: fc.integer({ min: 1, max: 9 }),
  shuffle: fc.boolean(),
  groupByLength: fc.boolean(),
})

const firstRows = (given: OrderOptions, count: number): number[] => {
  const order = rowOrder(given)
  const rows: number[] = []
  for (let batch = 0; rows.length < count; batch++) rows.push(...order(batch))
  return rows.slice(0, count)
}

describe('the order of rows', () => {
  test('every epoch holds every row once, and every batch is full', () => {
    fc.assert(
      fc.property(options, (given) => {
        const rows = given.lengths.length
        const drawn = firstRows(given, 3 * rows)
        for (let epoch = 0; epoch < 3; epoch++) {
          const sorted = drawn.slice(epoch * rows, (epoch + 1) * rows).sort((a, b) => a - b)
          expect(sorted).toEqual(given.lengths.map((_, index) => index))
        }
        expect(rowOrder(given)(7)).toHaveLength(given.batchSize)
      }),
    )
  })

  test('asking for batches in any order gives the same batches', () => {
    fc.assert(
      fc.property(options, fc.array(fc.nat(40), { minLength: 1, maxLength: 12 }), (given, numbers) => {
        const jumping = rowOrder(given)
        const sequential = rowOrder(given)
        const all = Array.from({ length: 41 }, (_, number) => sequential(number))
        for (const number of numbers) expect(jumping(number)).toEqual(all[number])
      }),
    )
  })

  test('a batch larger than the data repeats rows, and is full', () => {
    const order = rowOrder({ seed: 1, client: 'a', lengths: [5, 6, 7], batchSize: 8, shuffle: true, groupByLength: true })
    expect(order(0)).toHaveLength(8)
    expect([...order(0)].slice(0, 3).sort()).toEqual([0, 1, 2])
    expect([...order(0)].slice(3, 6).sort()).toEqual([0, 1, 2])
  })

  test('without shuffling it is file order, and lengths do not matter', () => {
    const order = rowOrder({ seed: 1, client: 'a', lengths: [9, 2, 5], batchSize: 2, shuffle: false, groupByLength: true })
    expect([0, 1, 2].map((number) => [...order(number)])).toEqual([
      [0, 1],
      [2, 0],
      [1, 2],
    ])
  })

  test('without grouping an epoch is the permutation of that epoch and client', () => {
    const given = {
      seed: 42,
      client: 'client-1',
      lengths: new Array<number>(17).fill(4),
      batchSize: 4,
      shuffle: true,
      groupByLength: false,
    }
    const drawn = firstRows(given, 34)
    expect(drawn.slice(0, 17)).toEqual([...derive(42, 'order', 'client-1', 0).permutation(17)])
    expect(drawn.slice(17)).toEqual([...derive(42, 'order', 'client-1', 1).permutation(17)])
  })

  test('other clients, seeds and epochs have other orders', () => {
    const given = { seed: 42, client: 'client-1', lengths: new Array<number>(50).fill(4), batchSize: 5, shuffle: true, groupByLength: true }
    const drawn = firstRows(given, 100)
    const orders = [
      drawn.slice(0, 50),
      drawn.slice(50),
      firstRows({ ...given, client: 'client-2' }, 50),
      firstRows({ ...given, seed: 43 }, 50),
    ]
    expect(new Set(orders.map((order) => order.join())).size).toBe(4)
  })

  test('grouping puts rows of like length together, in no order of length', () => {
    const lengths = Array.from({ length: 400 }, (_, row) => 10 + (row % 100))
    const given = { seed: 3, client: 'a', lengths, batchSize: 4, shuffle: true, groupByLength: true }
    const padding = (groupByLength: boolean, from: number): number => {
      const order = rowOrder({ ...given, groupByLength })
      let slots = 0
      for (let batch = from; batch < from + 100; batch++) {
        const batchLengths = [...order(batch)].map((row) => lengths[row])
        slots += batchLengths.reduce((sum, length) => sum + Math.max(...batchLengths) - length, 0)
      }
      return slots
    }
    expect(padding(true, 0)).toBeLessThan(padding(false, 0) / 10)
    const longest = Array.from({ length: 100 }, (_, batch) => Math.max(...[...rowOrder(given)(batch)].map((row) => lengths[row])))
    const rising = longest.slice(1).filter((length, index) => length >= longest[index]).length
    expect(rising).toBeGreaterThan(30)
    expect(rising).toBeLessThan(70)
  })

  test('grouping holds when batches do not divide the rows: full batches stay alike in later epochs', () => {
    const lengths = Array.from({ length: 41 }, (_, row) => 10 + row)
    const order = rowOrder({ seed: 3, client: 'a', lengths, batchSize: 4, shuffle: true, groupByLength: true })
    // Epoch 1 covers rows 41..81: batch 10 is begun by epoch 0, batches 11..19 lie inside epoch 1.
    for (let batch = 11; batch < 20; batch++) {
      const batchLengths = [...order(batch)].map((row) => lengths[row])
      expect(Math.max(...batchLengths) - Math.min(...batchLengths)).toBeLessThan(12)
    }
  })
})

test('micro-batches are numbered through rounds, steps and accumulation', () => {
  const numbers: number[] = []
  for (let round = 1; round <= 2; round++)
    for (let step = 0; step < 3; step++)
      for (let micro = 0; micro < 2; micro++) numbers.push(microBatchNumber({ round, step, micro, localSteps: 3, accumulation: 2 }))
  expect(numbers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
})
