import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('sum_to', () => {
  const x = f64([2, 3], [1, 2, 3, 4, 5, 6])
  test('sums over axes of 1 and over missing leading axes', () => {
    expectArray(forward(({ x }) => x.sumTo([2, 1]), { x })[0], [2, 1], [6, 15])
    expectArray(forward(({ x }) => x.sumTo([1, 3]), { x })[0], [1, 3], [5, 7, 9])
    expectArray(forward(({ x }) => x.sumTo([3]), { x })[0], [3], [5, 7, 9])
    expectArray(forward(({ x }) => x.sumTo([]), { x })[0], [], [21])
  })
  test('sums to zeros where there is nothing to sum', () => {
    expectArray(forward(({ x }) => x.sumTo([2]), { x: f64([0, 2], []) }, { x: ['tokens', 2] })[0], [2], [0, 0])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => x.sumTo([2, 1]), { x: normal([3, 2, 4], 'x') })
    expectGradient(({ x }) => x.sumTo([4]), { x: normal([3, 4], 'x') }, { shapes: { x: ['tokens', 4] } })
  })
  test.each([[[2]], [[3, 3]], [[1, 2, 3]], [['tokens', 3]]])('refuses to sum [2, 3] to %j', (shape) => {
    expect(() => newGraph().input('x', 'f32', [2, 3]).sumTo(shape)).toThrow(/broadcast|stretch/)
  })
})
