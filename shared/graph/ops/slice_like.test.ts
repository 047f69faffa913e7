import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'
import type { Value } from '../graph.js'

describe('slice_like', () => {
  const slice = (x: Value, parts: readonly Value[], axis: number) => x.builder.apply('slice_like', [x, ...parts], { axis })
  const x = f64([2, 4], [1, 2, 3, 4, 5, 6, 7, 8])
  test('cuts consecutive pieces as long as its examples', () => {
    const [first, second] = forward(({ x, a, b }) => slice(x, [a, b], 1), { x, a: normal([2, 1], 'a'), b: normal([2, 3], 'b') })
    expectArray(first, [2, 1], [1, 5])
    expectArray(second, [2, 3], [2, 3, 4, 6, 7, 8])
  })
  test('cuts three pieces, one of them of no length', () => {
    const inputs = { x, a: normal([1, 4], 'a'), b: normal([0, 4], 'b'), c: normal([1, 4], 'c') }
    const [first, second, third] = forward(({ x, a, b, c }) => slice(x, [a, b, c], 0), inputs)
    expectArray(first, [1, 4], [1, 2, 3, 4])
    expectArray(second, [0, 4], [])
    expectArray(third, [1, 4], [5, 6, 7, 8])
  })
  test('undoes concat', () => {
    const inputs = { a: normal([2, 1], 'a'), b: normal([2, 3], 'b') }
    const [a, b] = forward(({ a, b }) => slice(a.concat([b], 1), [a, b], 1), inputs)
    expectArray(a, [2, 1], [...inputs.a.data])
    expectArray(b, [2, 3], [...inputs.b.data])
  })
  test('has the gradient that central differences give, and none for its examples', () => {
    const inputs = { x, a: normal([2, 1], 'a'), b: normal([2, 1], 'b'), c: normal([2, 2], 'c') }
    expectGradient(({ x, a, b, c }) => slice(x, [a, b, c], 1), inputs)
    // Only the middle piece is used: the gradient is zero elsewhere.
    expectGradient(({ x, a, b, c }) => slice(x, [a, b, c], 1)[1], inputs)
    expectGradient(({ x, a, b }) => slice(x, [a, b], 1)[1], { x: normal([2, 2], 'x'), a: inputs.a, b: inputs.b })
  })
  test('takes symbols', () => {
    const graph = newGraph()
    const [past, now] = [graph.input('past', 'f32', ['past', 4]), graph.input('now', 'f32', ['tokens', 4])]
    expect(slice(past.concat([now], 0), [past, now], 0).map(({ shape }) => shape)).toEqual([past.shape, now.shape])
  })
  test('refuses examples that do not add up to x', () => {
    const graph = newGraph()
    const [whole, part] = [graph.input('whole', 'f32', [2, 4]), graph.input('part', 'f32', [2, 1])]
    expect(() => slice(whole, [part, part], 1)).toThrow(/has shape \[2, 4\], not \[2, 2\]/)
    expect(() => slice(whole, [part, whole], 0)).toThrow(/each part/)
    expect(() => slice(whole, [part, part], 2)).toThrow(/there is no axis 2/)
  })
})
