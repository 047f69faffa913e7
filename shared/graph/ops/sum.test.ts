import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('sum', () => {
  const x = f64([2, 3], [1, 2, 3, 4, 5, 6])
  test('sums over its axes and leaves them as 1', () => {
    expectArray(forward(({ x }) => x.sum([0]), { x })[0], [1, 3], [5, 7, 9])
    expectArray(forward(({ x }) => x.sum([1]), { x })[0], [2, 1], [6, 15])
    expectArray(forward(({ x }) => x.sum([0, 1]), { x })[0], [1, 1], [21])
  })
  test('over no axis is the array itself', () => {
    expectArray(forward(({ x }) => x.sum([]), { x })[0], [2, 3], [...x.data])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => [x.sum([0]), x.sum([1, 2])], { x: normal([2, 3, 2], 'x') }, { shapes: { x: ['batch', 3, 2] } })
  })
  test('sums a symbol away', () => {
    expect(newGraph().input('x', 'f32', ['tokens', 4]).sum([0]).shape).toEqual([1, 4])
  })
  test.each([[2], [-1], [0.5]])('refuses axis %d of two', (axis) => {
    expect(() => newGraph().input('x', 'f32', [2, 3]).sum([axis])).toThrow(/there is no axis/)
  })
})
