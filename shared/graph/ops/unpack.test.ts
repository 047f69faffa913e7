import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('unpack', () => {
  // Two rows of 2 and 1 tokens; the last slot of the second row is padding.
  const slots = i32([2, 2], [0, 1, 2, -1])
  const places = i32([3], [0, 1, 2])
  // The same with the rows' tokens packed the other way round: places is the inverse of slots.
  const turned = { slots: i32([2, 2], [1, 2, 0, -1]), places: i32([3], [2, 0, 1]) }
  const x = f64([3, 2], [1, 2, 3, 4, 5, 6])
  test('puts each token in its slot, and zeros in padding', () => {
    expectArray(forward(({ x, slots, places }) => x.unpack(slots, places), { x, slots, places })[0], [2, 2, 2], [1, 2, 3, 4, 5, 6, 0, 0])
    expectArray(forward(({ x, slots, places }) => x.unpack(slots, places), { x, ...turned })[0], [2, 2, 2], [3, 4, 5, 6, 1, 2, 0, 0])
  })
  test('takes a row of one token', () => {
    const inputs = { x: f64([1, 2], [7, 8]), slots: i32([1, 1], [0]), places: i32([1], [0]) }
    expectArray(forward(({ x, slots, places }) => x.unpack(slots, places), inputs)[0], [1, 1, 2], [7, 8])
  })
  test('has the gradient that central differences give', () => {
    const shapes = { x: ['tokens', 4], slots: ['batch', 'longest'], places: ['tokens'] }
    expectGradient(({ x, slots, places }) => x.unpack(slots, places), { x: normal([3, 4], 'x'), ...turned }, { shapes })
  })
  test('has one slot for each row and position', () => {
    const graph = newGraph()
    const [x, slots, places] = [
      graph.input('x', 'f32', ['tokens', 4]),
      graph.input('s', 'i32', ['batch', 'longest']),
      graph.input('p', 'i32', ['tokens']),
    ]
    expect(x.unpack(slots, places).shape).toEqual(['batch', 'longest', 4])
    expect(() => x.unpack(places, slots)).toThrow(/slots has shape/)
    expect(() => x.unpack(slots, graph.input('q', 'i32', ['scored']))).toThrow(/places has shape/)
    expect(() => x.unpack(graph.input('f', 'f32', ['batch', 'longest']), places)).toThrow(/is f32, not i32/)
  })
  test('refuses a place outside the slots', () => {
    const inputs = { x: f64([1, 1], [1]), slots: i32([1, 1], [0]), places: i32([1], [1]) }
    expect(() => forward(({ x, slots, places }) => x.unpack(slots, places), inputs)).toThrow('unpack: index 1 is not in 0..0')
  })
})
