import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { gradients } from '../grad.js'
import { newGraph } from './index.js'

describe('gelu_grad', () => {
  test('is the slope of GELU times what comes from above', () => {
    // Half at 0; at 1, u = 0.8335588, t = 0.6823838 and u' = 0.9049175, so 0.5 (1 + t) + 0.5 (1 - t^2) u' = 1.0829641 (worked
    // out outside this code); and slope(x) + slope(-x) = 1, because GELU(x) - GELU(-x) = x.
    const inputs = { x: f64([3], [0, 1, -1]), up: f64([3], [2, 1, 1]) }
    expectArray(forward(({ x, up }) => x.builder.apply('gelu_grad', [x, up]), inputs)[0], [3], [1, 1.0829640838, -0.0829640838], 1e-10)
  })
  test('has the gradient that central differences give, for both inputs', () => {
    const inputs = { x: f64([2, 4], [-3, -1.5, -0.5, -0.1, 0.2, 0.5, 1.5, 3]), up: normal([2, 4], 'up') }
    expectGradient(({ x, up }) => x.builder.apply('gelu_grad', [x, up]), inputs, { shapes: { x: ['tokens', 4], up: ['tokens', 4] } })
  })
  test('makes the second derivative of GELU right', () => {
    const inputs = { x: f64([5], [-2, -0.5, 0.1, 0.5, 2]), up: normal([5], 'up') }
    expectGradient(({ x, up }) => gradients(x.builder, [[x.gelu(), up]], [x])[0]!, inputs)
  })
  test('refuses inputs of two shapes, and integers', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', ['tokens', 4])
    expect(() => graph.apply('gelu_grad', [x, graph.input('row', 'f32', [4])])).toThrow(/upstream has shape \[4\]/)
    expect(() => graph.apply('gelu_grad', [x, graph.input('i', 'i32', ['tokens', 4])])).toThrow(/is i32/)
  })
})
