import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('concat', () => {
  const a = f64([2, 1], [1, 2])
  const b = f64([2, 2], [3, 4, 5, 6])
  const c = f64([2, 1], [7, 8])
  test('joins two or three arrays along the last axis', () => {
    expectArray(forward(({ a, b }) => a.concat([b], 1), { a, b })[0], [2, 3], [1, 3, 4, 2, 5, 6])
    expectArray(forward(({ a, b, c }) => a.concat([b, c], 1), { a, b, c })[0], [2, 4], [1, 3, 4, 7, 2, 5, 6, 8])
  })
  test('joins along the first axis', () => {
    expectArray(forward(({ a, c }) => a.concat([c], 0), { a, c })[0], [4, 1], [1, 2, 7, 8])
  })
  test('joins more than three arrays, and one alone is itself', () => {
    expectArray(forward(({ a, b, c }) => a.concat([b, c, a, b], 1), { a, b, c })[0], [2, 7], [1, 3, 4, 7, 1, 3, 4, 2, 5, 6, 8, 2, 5, 6])
    expectArray(forward(({ a }) => a.concat([], 1), { a })[0], [2, 1], [1, 2])
  })
  test('joins nothing to something', () => {
    expectArray(forward(({ a, none }) => a.concat([none], 0), { a, none: f64([0, 1], []) })[0], [2, 1], [1, 2])
  })
  test.each([0, 1, 2])('has the gradient that central differences give along axis %d', (axis) => {
    const shape = (size: number) => [2, 3, 2].with(axis, size)
    const inputs = { a: normal(shape(1), 'a'), b: normal(shape(3), 'b'), c: normal(shape(2), 'c') }
    expectGradient(({ a, b }) => a.concat([b], axis), { a: inputs.a, b: inputs.b })
    expectGradient(({ a, b, c }) => a.concat([b, c], axis), inputs)
  })
  test('adds symbols up along its axis', () => {
    const graph = newGraph()
    const [past, now] = [graph.input('past', 'f32', ['past', 4]), graph.input('now', 'f32', ['tokens', 4])]
    expect(past.concat([now, now], 0).shape).toEqual(['2*tokens+past', 4])
  })
  test('refuses parts that differ elsewhere, have another rank, or are integers', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', [2, 3])
    expect(() => x.concat([graph.input('y', 'f32', [3, 3])], 1)).toThrow(/has shape \[3, 3\], not \[2, 3\]/)
    expect(() => x.concat([graph.input('z', 'f32', [2])], 1)).toThrow(/not 2 axes/)
    expect(() => x.concat([graph.input('i', 'i32', [2, 3])], 1)).toThrow(/is i32/)
    expect(() => x.concat([x], 2)).toThrow(/there is no axis 2/)
  })
})
