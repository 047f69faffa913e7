import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('softmax', () => {
  test('gives each number its part of the sum of powers', () => {
    // e^0 : e^(ln 3) = 1 : 3.
    expectArray(forward(({ x }) => x.softmax(), { x: f64([2, 2], [0, Math.log(3), 5, 5]) })[0], [2, 2], [0.25, 0.75, 0.5, 0.5])
  })
  test('does not overflow, and gives no weight to what is far below', () => {
    expectArray(forward(({ x }) => x.softmax(), { x: f64([2, 2], [1e4, 1e4, 0, -1e30]) })[0], [2, 2], [0.5, 0.5, 1, 0])
  })
  test('gives a row of one number 1', () => {
    expectArray(forward(({ x }) => x.softmax(), { x: f64([2, 1], [-3, 7]) })[0], [2, 1], [1, 1])
  })
  test('works along the last of several axes, and on a vector', () => {
    const x = f64([1, 2, 2], [0, Math.log(3), Math.log(4), 0])
    expectArray(forward(({ x }) => x.softmax(), { x })[0], [1, 2, 2], [0.25, 0.75, 0.8, 0.2])
    expectArray(forward(({ x }) => x.softmax(), { x: f64([2], [0, Math.log(3)]) })[0], [2], [0.25, 0.75])
  })
  test('has the gradient that central differences give', () => {
    expectGradient(({ x }) => x.softmax(), { x: normal([2, 3, 4], 'x') }, { shapes: { x: ['batch', 'longest', 'longer'] } })
    expectGradient(({ x }) => x.softmax(), { x: normal([5], 'x') })
    expectGradient(({ x }) => x.softmax(), { x: normal([3, 1], 'x') }, { atol: 1e-9 })
  })
  test('keeps its shape, symbols included', () => {
    expect(newGraph().input('x', 'f32', ['batch', 'longest']).softmax().shape).toEqual(['batch', 'longest'])
  })
  test('refuses a scalar and integers', () => {
    expect(() => newGraph().input('x', 'f32', []).softmax()).toThrow(/there is no axis/)
    expect(() => newGraph().input('x', 'i32', [2]).softmax()).toThrow(/is i32/)
  })
})
