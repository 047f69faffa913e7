import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('pack', () => {
  // Two rows of 2 and 1 tokens; the last slot of the second row is padding.
  const slots = i32([2, 2], [0, 1, 2, -1])
  const places = i32([3], [0, 1, 2])
  // The same with the rows' tokens packed the other way round: places is the inverse of slots.
  const turned = { slots: i32([2, 2], [1, 2, 0, -1]), places: i32([3], [2, 0, 1]) }
  const x = f64([2, 2, 2], [1, 2, 3, 4, 5, 6, 70, 80])
  test('reads each token from its slot, and leaves padding out', () => {
    expectArray(forward(({ x, slots, places }) => x.pack(slots, places), { x, slots, places })[0], [3, 2], [1, 2, 3, 4, 5, 6])
    expectArray(forward(({ x, slots, places }) => x.pack(slots, places), { x, ...turned })[0], [3, 2], [5, 6, 1, 2, 3, 4])
  })
  test('undoes unpack', () => {
    const packed = normal([3, 2], 'x')
    const [again] = forward(({ x, slots, places }) => x.unpack(slots, places).pack(slots, places), { x: packed, ...turned })
    expectArray(again, [3, 2], [...packed.data])
  })
  test('has the gradient that central differences give, zero in padding', () => {
    const shapes = { x: ['batch', 'longest', 4], slots: ['batch', 'longest'], places: ['tokens'] }
    expectGradient(({ x, slots, places }) => x.pack(slots, places), { x: normal([2, 2, 4], 'x'), ...turned }, { shapes })
  })
  test('has one row for each token', () => {
    const graph = newGraph()
    const [slots, places] = [graph.input('s', 'i32', ['batch', 'longest']), graph.input('p', 'i32', ['tokens'])]
    const x = graph.input('x', 'f32', ['batch', 'longest', 4])
    expect(x.pack(slots, places).shape).toEqual(['tokens', 4])
    expect(() => x.pack(graph.input('t', 'i32', ['longest', 'batch']), places)).toThrow(/slots has shape/)
    expect(() => x.pack(slots, slots)).toThrow(/places has shape/)
    expect(() => graph.input('y', 'f32', ['tokens', 4]).pack(slots, places)).toThrow(/not 3 axes/)
  })
  test('refuses a place outside the slots', () => {
    const inputs = { x: f64([1, 1, 1], [1]), slots: i32([1, 1], [0]), places: i32([1], [-1]) }
    expect(() => forward(({ x, slots, places }) => x.pack(slots, places), inputs)).toThrow('pack: index -1 is not in 0..0')
  })
})
