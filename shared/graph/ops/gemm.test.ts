import { describe, expect, test } from 'vitest'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import type { Value } from '../graph.js'
import { newGraph } from './index.js'

describe('gemm', () => {
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
    expectArray(forward(({ a, b }) => a.gemm(b), { a, b })[0], [2, 2], [58, 64, 139, 154])
  })
  test('multiplies by the transpose of either or both', () => {
    expectArray(
      forward(({ a, b }) => a.gemm(b, { transposeA: true, transposeB: true }), { a, b })[0],
      [3, 3],
      [39, 49, 59, 54, 68, 82, 69, 87, 105],
    )
    expectArray(forward(({ a }) => a.gemm(a, { transposeB: true }), { a })[0], [2, 2], [14, 32, 32, 77])
    expectArray(forward(({ a }) => a.gemm(a, { transposeA: true }), { a })[0], [3, 3], [17, 22, 27, 22, 29, 36, 27, 36, 45])
  })
  test.each<[string, number[], number[], number[]]>([
    ['a bias to each row', [2], [1, 2], [59, 66, 140, 156]],
    ['a matrix', [2, 2], [1, 2, 3, 4], [59, 66, 142, 158]],
    ['one number to all', [1], [1], [59, 65, 140, 155]],
  ])('adds %s', (_, shape, data, result) => {
    expectArray(forward(({ a, b, add }) => a.gemm(b, { add }), { a, b, add: f64(shape, data) })[0], [2, 2], result)
  })
  test('takes one row, and no row', () => {
    expectArray(forward(({ a, b }) => a.gemm(b), { a: f64([1, 3], [1, 2, 3]), b })[0], [1, 2], [58, 64])
    expectArray(forward(({ a, b }) => a.gemm(b, { add: b.sumTo([2]) }), { a: f64([0, 3], []), b })[0], [0, 2], [])
  })
  test.each(flags)('has the gradient that central differences give (transposeA %s, transposeB %s)', (transposeA, transposeB) => {
    const [a, b] = [normal(transposeA ? [4, 3] : [3, 4], 'a'), normal(transposeB ? [5, 4] : [4, 5], 'b')]
    const plain = ({ a, b }: Record<'a' | 'b', Value>) => a.gemm(b, { transposeA, transposeB })
    const added = ({ a, b, add }: Record<'a' | 'b' | 'add', Value>) => a.gemm(b, { add, transposeA, transposeB })
    expectGradient(plain, { a, b }, { shapes: { a: transposeA ? [4, 'tokens'] : ['tokens', 4] } })
    for (const shape of [[5], [3, 5], [1], [1, 5]]) expectGradient(added, { a, b, add: normal(shape, 'add') })
  })
  test('takes symbols', () => {
    const graph = newGraph()
    const x = graph.input('x', 'f32', ['tokens', 8])
    expect(x.gemm(graph.weight('w', [8, 4]), { add: graph.weight('bias', [4]) }).shape).toEqual(['tokens', 4])
    expect(x.gemm(x, { transposeA: true }).shape).toEqual([8, 8])
  })
  test('refuses lengths that differ, other ranks, integers, and an addend that does not stretch', () => {
    const graph = newGraph()
    const [x, weight] = [graph.input('x', 'f32', ['tokens', 8]), graph.weight('w', [8, 4])]
    expect(() => x.gemm(weight, { transposeB: true })).toThrow('cannot multiply [tokens, 8] by [8, 4]')
    expect(() => graph.input('cube', 'f32', [1, 2, 8]).gemm(weight)).toThrow(/not 2 axes/)
    expect(() => x.gemm(graph.input('i', 'i32', [8, 4]))).toThrow(/is i32/)
    expect(() => x.gemm(weight, { add: graph.weight('wide', [8]) })).toThrow(/do not broadcast/)
    expect(() => x.gemm(weight, { add: graph.weight('deep', [1, 1, 4]) })).toThrow(/does not stretch/)
  })
})
