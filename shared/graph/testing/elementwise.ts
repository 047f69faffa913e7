/**
 * @file What every elementwise op must do, as tests: for those on one array, and those on two that broadcast.
 */
import { expect, test } from 'vitest'
import type { Dim } from '../dims.js'
import type { Value } from '../graph.js'
import { newGraph } from '../ops/index.js'
import { expectArray, f64, forward, normal } from './forward.js'
import { expectGradient } from './gradient.js'

export interface UnaryExamples {
  /** x and y, from the source that the test file names. */
  readonly published: readonly (readonly [number, number])[]
  /** Where `published` is rounded. */
  readonly atol?: number
  /** Where the gradient is checked: away from kinks and poles. */
  readonly smooth: readonly number[]
  /** An op that is flat where it is smooth has none. */
  readonly gradient?: 'none'
}

export function testUnary(op: string, { published, atol = 1e-15, smooth, gradient }: UnaryExamples): void {
  const build = ({ x }: { x: Value }): Value[] => x.builder.apply(op, [x])
  test('gives the published numbers', () => {
    const x = f64(
      [published.length],
      published.map(([at]) => at),
    )
    expectArray(
      forward(build, { x })[0],
      [published.length],
      published.map(([, y]) => y),
      atol,
    )
  })
  if (gradient === 'none')
    test('has no gradient, because it is flat', () => {
      expectGradient(build, { x: f64([smooth.length], smooth) })
    })
  else
    test('has the gradient that central differences give', () => {
      expectGradient(build, { x: f64([smooth.length, 1], smooth) })
    })
  test('keeps its shape, symbols included', () => {
    const x = newGraph().input('x', 'f32', ['tokens', 2])
    expect(x.builder.apply(op, [x])[0].spec).toMatchObject({ dtype: 'f32', shape: ['tokens', 2] })
  })
  test('takes a scalar and an array of nothing', () => {
    const [at, y] = published[0]
    expectArray(forward(build, { x: f64([], [at]) })[0], [], [y], atol)
    expectArray(forward(build, { x: f64([0, 3], []) })[0], [0, 3], [])
  })
  test('refuses integers', () => {
    const x = newGraph().input('x', 'i32', [2])
    expect(() => x.builder.apply(op, [x])).toThrow(`${op}: x is i32, not f32`)
  })
}

export interface BinaryExamples {
  /** The results for a = [1, -2, 3] and b = [4, 5, -6]. */
  readonly results: readonly number[]
  readonly atol?: number
}

export function testBinary(op: string, { results, atol = 0 }: BinaryExamples): void {
  const apply = ({ a, b }: { a: Value; b: Value }): Value[] => a.builder.apply(op, [a, b])
  const a = f64([3], [1, -2, 3])
  const b = f64([3], [4, 5, -6])
  // Away from 0, so that a quotient is smooth.
  const apart = (shape: readonly number[], key: string) => normal(shape, key).map((v) => v + (v < 0 ? -1 : 1))

  test('works on each pair of numbers', () => {
    expectArray(forward(apply, { a, b })[0], [3], results, atol)
  })
  test.each([
    ['a row to each row', [2, 3], [3]],
    ['each row to a row', [3], [2, 3]],
    ['a column and a row to a table', [2, 1], [1, 3]],
    ['a scalar to all', [2, 3], []],
    ['all to a scalar', [], [2, 3]],
    ['an axis of 1 in the middle', [2, 1, 2], [2, 3, 1]],
    ['nothing where the shapes are equal', [2, 3], [2, 3]],
  ])('stretches %s, and the gradient sums back', (_, left, right) => {
    const inputs = { a: apart(left, 'a'), b: apart(right, 'b') }
    expectGradient(apply, inputs)
  })
  test('has a gradient with symbols in its shape', () => {
    expectGradient(apply, { a: apart([2, 3], 'a'), b: apart([2, 1], 'b') }, { shapes: { a: ['tokens', 3], b: ['tokens', 1] } })
  })
  test('sums the gradients of an operand that stands on both sides', () => {
    expectGradient(({ x }: { x: Value }) => x.builder.apply(op, [x, x]), { x: apart([3], 'x') }, { atol: 1e-9 })
  })
  test.each<[readonly Dim[], readonly Dim[], readonly Dim[]]>([
    [['tokens', 3], [3], ['tokens', 3]],
    [
      ['tokens', 1],
      ['tokens', 3],
      ['tokens', 3],
    ],
    [[1], ['tokens'], ['tokens']],
  ])('takes %o and %o to %o', (left, right, shape) => {
    const graph = newGraph()
    expect(graph.apply(op, [graph.input('a', 'f32', left), graph.input('b', 'f32', right)])[0].shape).toEqual(shape)
  })
  test.each<[readonly Dim[], readonly Dim[]]>([
    [[3], [2]],
    [['tokens'], ['rows']],
    [['tokens'], [2]],
    [
      [2, 3],
      [2, 1, 2],
    ],
  ])('refuses %o and %o', (left, right) => {
    const graph = newGraph()
    expect(() => graph.apply(op, [graph.input('a', 'f32', left), graph.input('b', 'f32', right)])).toThrow(/do not broadcast/)
  })
  test('refuses integers', () => {
    const graph = newGraph()
    expect(() => graph.apply(op, [graph.input('a', 'f32', [2]), graph.input('b', 'i32', [2])])).toThrow(`${op}: b is i32, not f32`)
  })
}
