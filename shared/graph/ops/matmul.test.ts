import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import type { Value } from '../graph.js'
import { newGraph } from './index.js'

describe('matmul', () => {
  const a = f64([2, 3], [1, 2, 3, 4, 5, 6])
  const b = f64([3, 2], [7, 8, 9, 10, 11, 12])
  const flags = [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ] as const
  test('multiplies two matrices', () => {
    // 1*7 + 2*9 + 3*11 = 58 and so on.
    expectArray(forward(({ a, b }) => a.matmul(b), { a, b })[0], [2, 2], [58, 64, 139, 154])
  })
  test('multiplies by the transpose of either or both', () => {
    // A^T B^T = (B A)^T.
    expectArray(
      forward(({ a, b }) => a.matmul(b, { transposeA: true, transposeB: true }), { a, b })[0],
      [3, 3],
      [39, 49, 59, 54, 68, 82, 69, 87, 105],
    )
    expectArray(forward(({ a }) => a.matmul(a, { transposeB: true }), { a })[0], [2, 2], [14, 32, 32, 77])
    expectArray(forward(({ a }) => a.matmul(a, { transposeA: true }), { a })[0], [3, 3], [17, 22, 27, 22, 29, 36, 27, 36, 45])
  })
  test('multiplies for every leading index alone', () => {
    const inputs = { a: f64([2, 1, 2], [1, 2, 3, 4]), b: f64([2, 2, 1], [5, 6, 7, 8]) }
    expectArray(forward(({ a, b }) => a.matmul(b), inputs)[0], [2, 1, 1], [17, 53])
  })
  test('sums nothing to zero', () => {
    expectArray(forward(({ a, b }) => a.matmul(b), { a: f64([2, 0], []), b: f64([0, 2], []) })[0], [2, 2], [0, 0, 0, 0])
  })
  test.each(flags)('has the gradient that central differences give (transposeA %s, transposeB %s)', (transposeA, transposeB) => {
    const inputs = { a: normal(transposeA ? [2, 2, 4, 3] : [2, 2, 3, 4], 'a'), b: normal(transposeB ? [2, 2, 5, 4] : [2, 2, 4, 5], 'b') }
    const build = ({ a, b }: Record<'a' | 'b', Value>) => a.matmul(b, { transposeA, transposeB })
    expectGradient(build, inputs, { shapes: { a: ['batch', 2, ...inputs.a.shape.slice(2)], b: ['batch', 2, ...inputs.b.shape.slice(2)] } })
    expectGradient(build, { a: normal([1, 1], 'a'), b: normal([1, 1], 'b') })
  })
  test('takes symbols, also as the length of the sums', () => {
    const graph = newGraph()
    const [queries, keys] = [graph.input('q', 'f32', ['batch', 4, 'now', 8]), graph.input('k', 'f32', ['batch', 4, 'seen', 8])]
    const scores = queries.matmul(keys, { transposeB: true })
    expect(scores.shape).toEqual(['batch', 4, 'now', 'seen'])
    expect(scores.matmul(keys).shape).toEqual(['batch', 4, 'now', 8])
  })
  test('refuses lengths that differ, leading axes that differ or stretch, vectors and integers', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', [2, 3, 4])
    expect(() => x.matmul(x)).toThrow('cannot multiply [2, 3, 4] by [2, 3, 4]')
    expect(() => x.matmul(graph.input('one', 'f32', [1, 4, 3]))).toThrow(/cannot multiply/)
    expect(() => x.matmul(graph.input('flat', 'f32', [4, 3]))).toThrow(/not 3 axes/)
    expect(() => graph.input('v', 'f32', [3]).matmul(graph.input('w', 'f32', [3]))).toThrow(/need two axes/)
    expect(() => x.matmul(graph.input('i', 'i32', [2, 4, 3]))).toThrow(/is i32/)
  })
})
