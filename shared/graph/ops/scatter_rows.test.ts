import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('scatter_rows', () => {
  const x = f64([3, 2], [1, 2, 3, 4, 5, 6])
  test('adds up the rows of each index, and leaves zeros elsewhere', () => {
    expectArray(forward(({ x, at }) => x.scatterRows(at, 4), { x, at: i32([3], [2, 0, 2]) })[0], [4, 2], [3, 4, 0, 0, 6, 8, 0, 0])
  })
  test('makes zeros of no row', () => {
    expectArray(forward(({ x, at }) => x.scatterRows(at, 2), { x: f64([0, 2], []), at: i32([0], []) })[0], [2, 2], [0, 0, 0, 0])
  })
  test('has the gradient that central differences give', () => {
    const inputs = { x: normal([4, 3], 'x'), at: i32([4], [3, 0, 3, 1]) }
    expectGradient(({ x, at }) => x.scatterRows(at, 5), inputs, { shapes: { x: ['tokens', 3], at: ['tokens'] } })
  })
  test('has the rows asked for, also as a symbol', () => {
    const graph = newGraph()
    const [x, at] = [graph.input('x', 'f32', ['scored', 4]), graph.input('at', 'i32', ['scored'])]
    expect(x.scatterRows(at, 'tokens').shape).toEqual(['tokens', 4])
  })
  test.each([-1, 3])('refuses the index %d of three rows', (index) => {
    const inputs = { x: f64([1, 1], [1]), at: i32([1], [index]) }
    expect(() => forward(({ x, at }) => x.scatterRows(at, 3), inputs)).toThrow(`scatter_rows: index ${index} is not in 0..2`)
  })
  test('refuses other than one integer for each row', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', ['tokens', 4])
    expect(() => x.scatterRows(graph.input('at', 'i32', ['scored']), 3)).toThrow(/has shape \[scored\], not \[tokens\]/)
    expect(() => x.scatterRows(graph.input('floats', 'f32', ['tokens']), 3)).toThrow(/is f32, not i32/)
    expect(() => graph.input('v', 'f32', [2]).scatterRows(graph.input('two', 'i32', [2]), 3)).toThrow(/not 2 axes/)
  })
})
