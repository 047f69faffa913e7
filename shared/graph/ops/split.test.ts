import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('split', () => {
  const x = f64([2, 4], [1, 2, 3, 4, 5, 6, 7, 8])
  test('cuts equal parts along the last axis', () => {
    const [a, b] = forward(({ x }) => x.split(1, 2), { x })
    expectArray(a, [2, 2], [1, 2, 5, 6])
    expectArray(b, [2, 2], [3, 4, 7, 8])
  })
  test('cuts along the first axis, and one part is the whole', () => {
    expectArray(forward(({ x }) => x.split(0, 2), { x })[1], [1, 4], [5, 6, 7, 8])
    expectArray(forward(({ x }) => x.split(0, 1), { x })[0], [2, 4], [...x.data])
  })
  test.each([0, 1, 2])('has the gradient that central differences give along axis %d', (axis) => {
    const inputs = { x: normal([2, 3, 2].with(axis, 6), 'x') }
    expectGradient(({ x }) => x.split(axis, 3), inputs)
    expectGradient(({ x }) => x.split(axis, 1), inputs)
    // One part used, the others not: zeros stand in for their gradients.
    expectGradient(({ x }) => x.split(axis, 3)[1], inputs)
    expectGradient(({ x }) => x.split(axis, 6)[4], inputs)
  })
  test('keeps symbols of other axes', () => {
    expect(
      newGraph()
        .input('x', 'f32', ['tokens', 6])
        .split(1, 3)
        .map(({ shape }) => shape),
    ).toEqual([
      ['tokens', 2],
      ['tokens', 2],
      ['tokens', 2],
    ])
  })
  test('refuses an axis that is a symbol, does not divide or does not exist, and a count of none', () => {
    const x = newGraph().input('x', 'f32', ['tokens', 4])
    expect(() => x.split(0, 2)).toThrow(/cannot cut an axis of tokens in 2/)
    expect(() => x.split(1, 3)).toThrow(/cannot cut an axis of 4 in 3/)
    expect(() => x.split(2, 2)).toThrow(/there is no axis 2/)
    expect(() => x.split(1, 0)).toThrow(/cannot cut/)
  })
})
