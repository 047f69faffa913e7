import { describe, expect, test } from 'vitest'
import type { Value } from '../graph.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('rms_norm', () => {
  const norm = ({ x, weight }: Record<'x' | 'weight', Value>, epsilon = 1e-5) => x.builder.apply('rms_norm', [x, weight], { epsilon })
  const inputs = { x: normal([3, 4], 'x'), weight: normal([4], 'weight') }
  test('scales each row by its root mean square, and then by the weight', () => {
    // The squares of (1, 7) have the mean 25; with epsilon 11 the root is 6.
    const [y, inverse] = forward((values) => norm(values, 11), { x: f64([1, 2], [1, 7]), weight: f64([2], [6, -12]) })
    expectArray(y, [1, 2], [1, -14])
    expectArray(inverse, [1, 1], [1 / 6])
  })
  test('gives zeros for a row of zeros', () => {
    expectArray(forward(norm, { x: f64([1, 2], [0, 0]), weight: f64([2], [2, 4]) })[0], [1, 2], [0, 0])
  })
  test('has the gradient that central differences give, for x and weight', () => {
    expectGradient((values) => norm(values)[0], inputs, { shapes: { x: ['tokens', 4] } })
    expectGradient((values) => norm(values)[0], { ...inputs, x: normal([1, 4], 'row') })
  })
  test('has the gradient through the inverse root too, alone and together', () => {
    expectGradient((values) => norm(values)[1], inputs)
    expectGradient((values) => norm(values), inputs)
  })
  test('refuses other ranks, a width that is a symbol, and a weight that does not fit it', () => {
    const graph = newGraph()
    const weight = graph.weight('w', [4])
    expect(graph.input('x', 'f32', ['tokens', 4]).rmsNorm(weight, 1e-5).shape).toEqual(['tokens', 4])
    expect(() => graph.input('cube', 'f32', [1, 2, 4]).rmsNorm(weight, 1e-5)).toThrow(/not 2 axes/)
    expect(() => graph.input('wide', 'f32', [2, 'width']).rmsNorm(weight, 1e-5)).toThrow(/the width is width/)
    expect(() => graph.input('odd', 'f32', [2, 3]).rmsNorm(weight, 1e-5)).toThrow(/has shape \[4\], not \[3\]/)
  })
})
