import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('transpose', () => {
  test('swaps rows and columns', () => {
    expectArray(forward(({ x }) => x.transpose([1, 0]), { x: f64([2, 3], [1, 2, 3, 4, 5, 6]) })[0], [3, 2], [1, 4, 2, 5, 3, 6])
  })
  test('puts axis permutation[i] at i', () => {
    // x[a, b, c] = 4a + 2b + c with shape [2, 2, 2]; y[c, a, b] = x[a, b, c].
    const x = f64([2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7])
    expectArray(forward(({ x }) => x.transpose([2, 0, 1]), { x })[0], [2, 2, 2], [0, 2, 4, 6, 1, 3, 5, 7])
  })
  test('is undone by the inverse permutation', () => {
    const x = normal([2, 3, 4, 5], 'x')
    expectArray(forward(({ x }) => x.transpose([2, 0, 3, 1]).transpose([1, 3, 0, 2]), { x })[0], x.shape, [...x.data])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => x.transpose([2, 0, 1]), { x: normal([2, 3, 4], 'x') }, { shapes: { x: ['batch', 'longest', 4] } })
    expectGradient(({ x }) => x.transpose([0, 2, 1, 3]), { x: normal([2, 1, 3, 2], 'x') })
  })
  test('moves symbols with their axes, and takes integers', () => {
    const x = newGraph().input('x', 'i32', ['batch', 'longest', 4]).transpose([1, 2, 0])
    expect(x.spec).toMatchObject({ dtype: 'i32', shape: ['longest', 4, 'batch'] })
  })
  test.each([[[0]], [[0, 0]], [[0, 2]], [[0, 1, 2]]])('refuses %j for two axes', (permutation) => {
    expect(() => newGraph().input('x', 'f32', [2, 3]).transpose(permutation)).toThrow(/does not permute 2 axes/)
  })
})
