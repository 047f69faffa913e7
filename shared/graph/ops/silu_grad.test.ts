import { describe, expect, test } from 'vitest'
import { gradients } from '../grad.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('silu_grad', () => {
  test('is the slope of SiLU times what comes from above', () => {
    // Half at 0; at 1, s = 0.7310585786 and s (1 + (1 - s)) = 0.9276705119; and slope(x) + slope(-x) = 1, because SiLU(x) - SiLU(-x) = x.
    const inputs = { x: f64([3], [0, 1, -1]), up: f64([3], [2, 1, 1]) }
    expectArray(forward(({ x, up }) => x.builder.apply('silu_grad', [x, up]), inputs)[0], [3], [1, 0.9276705119, 0.0723294881], 1e-10)
  })
  test('has the gradient that central differences give, for both inputs', () => {
    const inputs = { x: f64([2, 4], [-3, -1.5, -0.5, -0.1, 0.2, 0.5, 1.5, 3]), up: normal([2, 4], 'up') }
    expectGradient(({ x, up }) => x.builder.apply('silu_grad', [x, up]), inputs, { shapes: { x: ['tokens', 4], up: ['tokens', 4] } })
  })
  test('makes the second derivative of SiLU right', () => {
    const inputs = { x: f64([5], [-2, -0.5, 0.1, 0.5, 2]), up: normal([5], 'up') }
    expectGradient(({ x, up }) => gradients(x.builder, [[x.silu(), up]], [x])[0]!, inputs)
  })
  test('refuses inputs of two shapes, and integers', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', ['tokens', 4])
    expect(() => graph.apply('silu_grad', [x, graph.input('row', 'f32', [4])])).toThrow(/upstream has shape \[4\]/)
    expect(() => graph.apply('silu_grad', [x, graph.input('i', 'i32', ['tokens', 4])])).toThrow(/is i32/)
  })
})
