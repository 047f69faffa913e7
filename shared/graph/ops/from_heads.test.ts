import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('from_heads', () => {
  // Two rows of 2 and 1 tokens; the last slot of the second row is padding.
  const slots = i32([2, 2], [0, 1, 2, -1])
  const places = i32([3], [0, 1, 2])
  // The same with the rows' tokens packed the other way round: places is the inverse of slots.
  const turned = { slots: i32([2, 2], [1, 2, 0, -1]), places: i32([3], [2, 0, 1]) }
  const x = f64([2, 1, 2, 2], [1, 2, 3, 4, 5, 6, 70, 80])
  test('reads each token from its slot, and leaves padding out', () => {
    expectArray(forward(({ x, slots, places }) => x.fromHeads(slots, places), { x, slots, places })[0], [3, 2], [1, 2, 3, 4, 5, 6])
    expectArray(forward(({ x, slots, places }) => x.fromHeads(slots, places), { x, ...turned })[0], [3, 2], [5, 6, 1, 2, 3, 4])
  })
  test('puts the heads of a token side by side', () => {
    const inputs = { x: f64([1, 2, 2, 2], [0, 1, 10, 11, 2, 3, 12, 13]), slots: i32([1, 2], [0, 1]), places: i32([2], [0, 1]) }
    expectArray(forward(({ x, slots, places }) => x.fromHeads(slots, places), inputs)[0], [2, 4], [0, 1, 2, 3, 10, 11, 12, 13])
  })
  test('undoes to_heads, in as many parts', () => {
    const packed = normal([3, 12], 'x')
    const [again] = forward(
      ({ x, slots, places }) => {
        const [a, b, c] = x.toHeads(slots, places, { heads: 2, parts: 3 })
        return x.builder.apply('from_heads', [a, slots, places, b, c])[0]!
      },
      { x: packed, ...turned },
    )
    expectArray(again!, [3, 12], [...packed.data])
  })
  test('has the gradient that central differences give, zero in padding', () => {
    const shapes = { x: ['batch', 2, 'longest', 2], slots: ['batch', 'longest'], places: ['tokens'] }
    expectGradient(({ x, slots, places }) => x.fromHeads(slots, places), { x: normal([2, 2, 2, 2], 'x'), ...turned }, { shapes })
    const twice = { ...shapes, y: shapes.x }
    const inputs = { x: normal([2, 2, 2, 2], 'x'), y: normal([2, 2, 2, 2], 'y'), ...turned }
    expectGradient(({ x, y, slots, places }) => x.builder.apply('from_heads', [x, slots, places, y])[0]!, inputs, { shapes: twice })
  })
  test('has one row for each token', () => {
    const graph = newGraph()
    const [slots, places] = [graph.input('s', 'i32', ['batch', 'longest']), graph.input('p', 'i32', ['tokens'])]
    const x = graph.input('x', 'f32', ['batch', 2, 'longest', 4])
    expect(x.fromHeads(slots, places).shape).toEqual(['tokens', 8])
    expect(() => x.fromHeads(graph.input('t', 'i32', ['longest', 'batch']), places)).toThrow(/slots has shape/)
    expect(() => x.fromHeads(slots, slots)).toThrow(/places has shape/)
    expect(() => graph.input('y', 'f32', ['tokens', 4]).fromHeads(slots, places)).toThrow(/not 4 axes/)
  })
  test('refuses a place outside the slots', () => {
    const inputs = { x: f64([1, 1, 1, 1], [1]), slots: i32([1, 1], [0]), places: i32([1], [-1]) }
    expect(() => forward(({ x, slots, places }) => x.fromHeads(slots, places), inputs)).toThrow('from_heads: index -1 is not in 0..0')
  })
})
