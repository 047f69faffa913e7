import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('broadcast_to', () => {
  test('repeats along axes of 1 and new leading axes', () => {
    const x = f64([2, 1], [1, 2])
    expectArray(forward(({ x }) => x.broadcastTo([2, 2, 3]), { x })[0], [2, 2, 3], [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2])
  })
  test('fills a shape with a scalar', () => {
    expectArray(forward(({ x }) => x.broadcastTo([2, 2]), { x: f64([], [5]) })[0], [2, 2], [5, 5, 5, 5])
  })
  test('takes symbols of the run', () => {
    const [y] = forward(
      ({ x, like }) => x.broadcastTo(like.shape),
      { x: f64([1, 2], [1, 2]), like: normal([3, 2], 'l') },
      { like: ['tokens', 2] },
    )
    expectArray(y, [3, 2], [1, 2, 1, 2, 1, 2])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => x.broadcastTo([4, 2, 3]), { x: normal([2, 1], 'x') })
    expectGradient(({ x }) => x.broadcastTo([2, 3]), { x: normal([], 'x') })
  })
  test.each([[[2]], [['tokens']], [[1, 2, 3]]])('refuses to stretch %j to [3]', (shape) => {
    expect(() => newGraph().input('x', 'f32', shape).broadcastTo([3])).toThrow(/broadcast/)
  })
  test('refuses to drop a larger axis', () => {
    expect(() => newGraph().input('x', 'f32', [3]).broadcastTo([1])).toThrow(/does not stretch/)
  })
})
