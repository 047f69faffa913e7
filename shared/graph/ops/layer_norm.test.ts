import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import type { Value } from '../graph.js'
import { newGraph } from './index.js'

describe('layer_norm', () => {
  const norm = ({ x, weight, bias }: Record<'x' | 'weight' | 'bias', Value>, epsilon = 1e-5) =>
    x.builder.apply('layer_norm', [x, weight, bias], { epsilon })
  const inputs = { x: normal([3, 4], 'x'), weight: normal([4], 'weight'), bias: normal([4], 'bias') }
  test('centres and scales each row, then applies weight and bias', () => {
    // Mean 2 and variance 1 of (1, 3), epsilon 3: the deviation is 2, so (-1, 1) / 2 * (2, 4) + (10, 20).
    const given = { x: f64([1, 2], [1, 3]), weight: f64([2], [2, 4]), bias: f64([2], [10, 20]) }
    const [y, mean, inverse] = forward((values) => norm(values, 3), given)
    expectArray(y, [1, 2], [9, 22])
    expectArray(mean, [1, 1], [2])
    expectArray(inverse, [1, 1], [0.5])
  })
  test('gives the bias where a row is constant, or has one number', () => {
    expectArray(forward(norm, { x: f64([1, 2], [5, 5]), weight: f64([2], [2, 4]), bias: f64([2], [10, 20]) })[0], [1, 2], [10, 20])
    expectArray(forward(norm, { x: f64([2, 1], [5, 6]), weight: f64([1], [2]), bias: f64([1], [10]) })[0], [2, 1], [10, 10])
  })
  test('has the gradient that central differences give, for x, weight and bias', () => {
    expectGradient((values) => norm(values)[0], inputs, { shapes: { x: ['tokens', 4] } })
    expectGradient((values) => norm(values)[0], { ...inputs, x: normal([1, 4], 'row') })
  })
  test('has the gradient through mean and deviation too, alone and together', () => {
    expectGradient((values) => norm(values)[1], inputs)
    expectGradient((values) => norm(values)[2], inputs)
    expectGradient((values) => norm(values), inputs)
  })
  test('refuses other ranks, a width that is a symbol, and weights that do not fit it', () => {
    const graph = newGraph()
    const [weight, bias] = [graph.weight('w', [4]), graph.weight('b', [4])]
    expect(graph.input('x', 'f32', ['tokens', 4]).layerNorm(weight, bias, 1e-5).shape).toEqual(['tokens', 4])
    expect(() => graph.input('cube', 'f32', [1, 2, 4]).layerNorm(weight, bias, 1e-5)).toThrow(/not 2 axes/)
    expect(() => graph.input('wide', 'f32', [2, 'width']).layerNorm(weight, bias, 1e-5)).toThrow(/the width is width/)
    expect(() => graph.input('odd', 'f32', [2, 3]).layerNorm(weight, bias, 1e-5)).toThrow(/has shape \[4\], not \[3\]/)
    expect(() => graph.input('x', 'f32', ['tokens', 4]).layerNorm(weight, graph.weight('one', [1]), 1e-5)).toThrow(
      /has shape \[1\], not \[4\]/,
    )
  })
})
