import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('gather', () => {
  const table = f64([3, 2], [1, 2, 3, 4, 5, 6])
  test('reads rows, in any order and more than once', () => {
    expectArray(forward(({ table, at }) => table.gather(at), { table, at: i32([4], [2, 0, 2, 1]) })[0], [4, 2], [5, 6, 1, 2, 5, 6, 3, 4])
  })
  test('reads no row', () => {
    expectArray(forward(({ table, at }) => table.gather(at), { table, at: i32([0], []) })[0], [0, 2], [])
  })
  test('has the gradient that central differences give, with repeated and unread rows', () => {
    const inputs = { table: normal([4, 3], 'table'), at: i32([5], [3, 1, 3, 3, 0]) }
    expectGradient(({ table, at }) => table.gather(at), inputs, { shapes: { table: ['rows', 3], at: ['tokens'] } })
  })
  test('has as many rows as indices', () => {
    const graph = newGraph()
    expect(graph.weight('table', [9, 4]).gather(graph.input('at', 'i32', ['tokens'])).shape).toEqual(['tokens', 4])
  })
  test.each([-1, 3])('refuses the index %d of three rows', (index) => {
    expect(() => forward(({ table, at }) => table.gather(at), { table, at: i32([1], [index]) })).toThrow(
      `gather: index ${index} is not in 0..2`,
    )
  })
  test('refuses a table of another rank, and indices that are not a list of integers', () => {
    const graph = newGraph()
    const [table, at] = [graph.input('table', 'f32', [3, 2]), graph.input('at', 'i32', [2])]
    expect(() => graph.input('cube', 'f32', [3, 2, 1]).gather(at)).toThrow(/not 2 axes/)
    expect(() => table.gather(graph.input('square', 'i32', [2, 2]))).toThrow(/not 1 axes/)
    expect(() => table.gather(graph.input('floats', 'f32', [2]))).toThrow(/is f32, not i32/)
  })
})
