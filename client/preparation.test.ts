import { expect, test } from 'vitest'
import { silentTrace } from '../shared/trace.js'
import { Preparation } from './preparation.js'

function counted(steps: number): { preparation: Preparation<string>; made: number[] } {
  const made: number[] = []
  const make = (step: number): string => {
    made.push(step)
    return `batches ${step}`
  }
  return { preparation: new Preparation(make, steps, silentTrace, 'client-0'), made }
}

test('batches that were prepared are handed out, and made once', () => {
  const { preparation, made } = counted(3)
  expect(preparation.take(0)).toBe('batches 0')
  preparation.prepare(1)
  preparation.prepare(1)
  expect(made).toEqual([0, 1])
  expect(preparation.take(1)).toBe('batches 1')
  expect(made).toEqual([0, 1])
})

test('a step that is not the one prepared gets its own, whichever it is', () => {
  const { preparation, made } = counted(5)
  preparation.prepare(1)
  expect(preparation.take(3)).toBe('batches 3')
  expect(preparation.take(1)).toBe('batches 1')
  expect(made).toEqual([1, 3, 1])
})

test('nothing is made behind the last step', () => {
  const { preparation, made } = counted(2)
  preparation.prepare(2)
  expect(made).toEqual([])
})
