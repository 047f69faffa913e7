import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../../shared/random.js'
import { f32, type NamedTensors } from '../../shared/tensor.js'
import { averagedMoments, fedAvg } from './fedavg.js'
import { weightedMean } from './mean.js'

const tensors = (values: Record<string, readonly number[]>): NamedTensors =>
  new Map(Object.entries(values).map(([name, data]) => [name, f32([data.length], data)]))
const strategy = (fractionTrain: number, minTrain = 1, fractionEvaluate = 1) => fedAvg({ fractionTrain, minTrain, fractionEvaluate })
const random = () => derive(1, 'test')

describe('the mean', () => {
  test('weights each adapter by its share', () => {
    // (1 * [4, 0] + 3 * [0, 8]) / 4
    const mean = weightedMean([
      { client: 'a', weight: 1, tensors: tensors({ w: [4, 0] }) },
      { client: 'b', weight: 3, tensors: tensors({ w: [0, 8] }) },
    ])
    expect([...mean.get('w')!.data]).toEqual([1, 6])
  })

  test('is per tensor, over those that carry it', () => {
    const mean = weightedMean([
      { client: 'a', weight: 1, tensors: tensors({ w: [1], only: [5] }) },
      { client: 'b', weight: 1, tensors: tensors({ w: [3] }) },
    ])
    expect([mean.get('w')!.data[0], mean.get('only')!.data[0]]).toEqual([2, 5])
  })

  test('of nothing is NO_REPLIES', () => {
    expect(() => weightedMean([])).toThrow(expect.objectContaining({ code: 'NO_REPLIES' }))
  })

  test('of adapters of different ranks is RANK_MISMATCH, and names the client', () => {
    const items = [
      { client: 'a', weight: 1, tensors: tensors({ w: [1, 2] }) },
      { client: 'b', weight: 1, tensors: tensors({ w: [1, 2, 3] }) },
    ]
    expect(() => weightedMean(items)).toThrow(expect.objectContaining({ code: 'RANK_MISMATCH', what: expect.stringContaining('client b') }))
  })

  test('of equal adapters is that adapter, whatever the weights, and none of its inputs changes', () => {
    const value = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 })
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1 }),
        fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 5 }),
        (data, weights) => {
          const items = weights.map((weight, i) => ({ client: `c${i}`, weight, tensors: tensors({ w: data }) }))
          const mean = weightedMean(items).get('w')!
          mean.data.forEach((x, i) => expect(Math.abs(x - data[i])).toBeLessThanOrEqual(1e-6 * Math.abs(data[i])))
          expect([...items[0].tensors.get('w')!.data]).toEqual(data)
        },
      ),
    )
  })
})

describe('the mean of moments', () => {
  const moments = (updates: number, mean: number, square: number) => ({
    updates,
    mean: new Map(tensors({ w: [mean] })),
    square: new Map(tensors({ w: [square] })),
  })

  test('weights both as the adapters, and takes the largest number of updates', () => {
    const average = averagedMoments([
      { client: 'a', weight: 0.25, moments: moments(3, 4, 8) },
      { client: 'b', weight: 0.75, moments: moments(7, 0, 4) },
    ])!
    expect(average.updates).toBe(7)
    expect([average.mean.get('w')!.data[0], average.square.get('w')!.data[0]]).toEqual([1, 5])
  })

  test('is over those that have any, and nothing where nobody has', () => {
    expect(averagedMoments([{ client: 'a', weight: 0.5, moments: null }])).toBeNull()
    const average = averagedMoments([
      { client: 'a', weight: 0.5, moments: null },
      { client: 'b', weight: 0.5, moments: moments(1, 2, 3) },
    ])!
    expect(average.mean.get('w')!.data[0]).toBe(2)
  })
})

describe('selection', () => {
  const ready = ['a', 'b', 'c', 'd', 'e']

  test('takes all with a fraction of one', () => {
    expect(strategy(1).selectTrain(ready, random(), 1)).toEqual(ready)
  })

  test('takes floor(fraction * ready), in id order, and the same for the same randomness', () => {
    const chosen = strategy(0.5).selectTrain(ready, random(), 1)
    expect(chosen).toHaveLength(2)
    expect(chosen).toEqual([...chosen].sort())
    expect(strategy(0.5).selectTrain(ready, random(), 1)).toEqual(chosen)
  })

  test('takes at least min_train_clients, and never more than there are', () => {
    expect(strategy(0.1, 3).selectTrain(ready, random(), 1)).toHaveLength(3)
    expect(strategy(0.1, 9).selectTrain(ready, random(), 1)).toEqual(ready)
  })

  test('evaluates on one client at least, unless the fraction is 0', () => {
    expect(strategy(1, 1, 0.1).selectEvaluate(ready, random(), 1)).toHaveLength(1)
    expect(strategy(1, 1, 0).selectEvaluate(ready, random(), 1)).toEqual([])
    expect(strategy(1, 1, 0.1).selectEvaluate([], random(), 1)).toEqual([])
  })
})
