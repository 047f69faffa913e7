import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('reshape', () => {
  test('keeps the numbers in their order', () => {
    const x = f64([2, 3], [1, 2, 3, 4, 5, 6])
    expectArray(forward(({ x }) => x.reshape([3, 1, 2]), { x })[0], [3, 1, 2], [1, 2, 3, 4, 5, 6])
  })
  test('makes a scalar of one number, and one number of a scalar', () => {
    expectArray(forward(({ x }) => x.reshape([]), { x: f64([1, 1], [5]) })[0], [], [5])
    expectArray(forward(({ x }) => x.reshape([1, 1]), { x: f64([], [5]) })[0], [1, 1], [5])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => x.reshape(['tokens', 2, 3]), { x: normal([2, 6], 'x') }, { shapes: { x: ['tokens', 6] } })
  })
  test('multiplies symbols out', () => {
    const x = newGraph().input('x', 'f32', ['batch', 'longest', 6])
    expect(x.reshape(['batch*longest', 6]).reshape(['longest', 'batch', 2, 3]).shape).toEqual(['longest', 'batch', 2, 3])
  })
  test('takes integers', () => {
    expect(newGraph().input('x', 'i32', [4]).reshape([2, 2]).dtype).toBe('i32')
  })
  test('refuses another number of elements', () => {
    const x = newGraph().input('x', 'f32', ['tokens', 6])
    expect(() => x.reshape(['tokens', 5])).toThrow('cannot reshape [tokens, 6] to [tokens, 5]')
    expect(() => x.reshape(['rows', 6])).toThrow(/cannot reshape/)
    expect(() => x.reshape([6])).toThrow(/cannot reshape/)
  })
})
