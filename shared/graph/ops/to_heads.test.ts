import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('to_heads', () => {
  // Two rows of 2 and 1 tokens; the last slot of the second row is padding.
  const slots = i32([2, 2], [0, 1, 2, -1])
  const places = i32([3], [0, 1, 2])
  // The same with the rows' tokens packed the other way round: places is the inverse of slots.
  const turned = { slots: i32([2, 2], [1, 2, 0, -1]), places: i32([3], [2, 0, 1]) }
  const x = f64([3, 2], [1, 2, 3, 4, 5, 6])
  const oneHead = { heads: 1, parts: 1 }
  test('puts each token in its slot, and zeros in padding', () => {
    expectArray(
      forward(({ x, slots, places }) => x.toHeads(slots, places, oneHead)[0], { x, slots, places })[0],
      [2, 1, 2, 2],
      [1, 2, 3, 4, 5, 6, 0, 0],
    )
    expectArray(
      forward(({ x, slots, places }) => x.toHeads(slots, places, oneHead)[0], { x, ...turned })[0],
      [2, 1, 2, 2],
      [3, 4, 5, 6, 1, 2, 0, 0],
    )
  })
  test('gives each head a matrix of its own, and each part an output', () => {
    const inputs = {
      x: f64([2, 8], [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17]),
      slots: i32([1, 2], [0, 1]),
      places: i32([2], [0, 1]),
    }
    const parts = [0, 1].map(
      (part) => forward(({ x, slots, places }) => x.toHeads(slots, places, { heads: 2, parts: 2 })[part]!, inputs)[0],
    )
    expectArray(parts[0]!, [1, 2, 2, 2], [0, 1, 10, 11, 2, 3, 12, 13])
    expectArray(parts[1]!, [1, 2, 2, 2], [4, 5, 14, 15, 6, 7, 16, 17])
  })
  test('has the gradient that central differences give, of each part and of all together', () => {
    const shapes = { x: ['tokens', 12], slots: ['batch', 'longest'], places: ['tokens'] }
    const inputs = { x: normal([3, 12], 'x'), ...turned }
    expectGradient(({ x, slots, places }) => x.toHeads(slots, places, { heads: 2, parts: 3 })[1]!, inputs, { shapes })
    expectGradient(
      ({ x, slots, places }) => {
        const [a, b, c] = x.toHeads(slots, places, { heads: 2, parts: 3 })
        return a.mul(b).add(c)
      },
      inputs,
      { shapes },
    )
  })
  test('has one matrix for each row and head', () => {
    const graph = newGraph()
    const [x, slots, places] = [
      graph.input('x', 'f32', ['tokens', 12]),
      graph.input('s', 'i32', ['batch', 'longest']),
      graph.input('p', 'i32', ['tokens']),
    ]
    expect(x.toHeads(slots, places, { heads: 3, parts: 2 }).map(({ shape }) => shape)).toEqual([
      ['batch', 3, 'longest', 2],
      ['batch', 3, 'longest', 2],
    ])
    expect(() => x.toHeads(slots, places, { heads: 5, parts: 1 })).toThrow(/do not divide a width of 12/)
    expect(() => x.toHeads(places, slots, oneHead)).toThrow(/slots has shape/)
    expect(() => x.toHeads(slots, graph.input('q', 'i32', ['scored']), oneHead)).toThrow(/places has shape/)
    expect(() => x.toHeads(graph.input('f', 'f32', ['batch', 'longest']), places, oneHead)).toThrow(/is f32, not i32/)
  })
  test('refuses a place outside the slots', () => {
    const inputs = { x: f64([1, 1], [1]), slots: i32([1, 1], [0]), places: i32([1], [1]) }
    expect(() => forward(({ x, slots, places }) => x.toHeads(slots, places, oneHead)[0], inputs)).toThrow(
      'to_heads: index 1 is not in 0..0',
    )
  })
})
