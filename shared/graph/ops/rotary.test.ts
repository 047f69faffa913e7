import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import type { Value } from '../graph.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import { newGraph } from './index.js'

describe('rotary', () => {
  const turn = (attributes: object) => (values: Record<'x' | 'positions', Value>) =>
    values.x.builder.apply('rotary', [values.x, values.positions], { frequencies: [1, 0.5], scale: 1, inverse: false, ...attributes })

  test('turns each number with the one half a head further on, by position times frequency', () => {
    // A head of (1, 0, 0, 2) at position 3: pair (1, 0) goes to (cos 3, sin 3), and pair (0, 2) to (-2 sin 1.5, 2 cos 1.5).
    const inputs = { x: f64([1, 4], [1, 0, 0, 2]), positions: i32([1], [3]) }
    const expected = [Math.cos(3), -2 * Math.sin(1.5), Math.sin(3), 2 * Math.cos(1.5)]
    expectArray(forward(turn({}), inputs)[0], [1, 4], expected)
  })
  test('treats every head and every row alike, and leaves position 0 as it is', () => {
    const head = [0.3, -1, 2, 0.7]
    const x = f64([2, 8], [...head, ...head, ...head, ...head])
    const [y] = forward(turn({}), { x, positions: i32([2], [0, 5]) })
    expect([...y.data.slice(0, 8)]).toEqual([...head, ...head])
    expect([...y.data.slice(8, 12)]).toEqual([...y.data.slice(12, 16)])
  })
  test('makes products of heads depend on how far apart they are, and not on where', () => {
    const [q, k] = [normal([1, 4], 'q'), normal([1, 4], 'k')]
    const product = (at: number, other: number): number => {
      const [[a], [b]] = [[q, at] as const, [k, other] as const].map(([x, position]) =>
        forward(turn({ frequencies: [1, 0.25] }), { x, positions: i32([1], [position]) }),
      )
      return a.data.reduce((sum, value, i) => sum + value * b.data[i], 0)
    }
    expect(product(9, 4)).toBeCloseTo(product(5, 0), 12)
  })
  test('turns back what it turned, and multiplies by its scale', () => {
    const given = { x: normal([3, 8], 'x'), positions: i32([3], [0, 2, 7]) }
    const [there] = forward(turn({ scale: 2 }), given)
    expectArray(forward(turn({ scale: 0.5, inverse: true }), { ...given, x: there })[0], [3, 8], [...given.x.data], 1e-12)
  })
  test('rounds angles to float32', () => {
    const [y] = forward(turn({ frequencies: [0.1] }), { x: f64([1, 2], [1, 0]), positions: i32([1], [100001]) })
    // 0.1 is 0.100000001490116 in float32, whose product with 100001 lies nearest to 10000.1 in steps of 1/1024.
    expectArray(y, [1, 2], [Math.cos(10000.1005859375), Math.sin(10000.1005859375)])
  })
  test.each([false, true])('has the gradient that central differences give, turning back: %s', (inverse) => {
    const given = { x: normal([3, 8], 'x'), positions: i32([3], [0, 2, 7]) }
    expectGradient(turn({ scale: 1.5, inverse }), given, { shapes: { x: ['tokens', 8], positions: ['tokens'] } })
  })
  test('refuses a width that is not made of heads, other positions than one for each row, and no frequencies', () => {
    const graph = newGraph()
    const positions = graph.input('positions', 'i32', ['tokens'])
    const x = (width: number | string) => graph.input(`x${width}`, 'f32', ['tokens', width])
    expect(() => x(6).rotary(positions, [1, 0.5], 1)).toThrow(/the width is 6, and must be heads of 4/)
    expect(() => x('width').rotary(positions, [1, 0.5], 1)).toThrow(/the width is width/)
    expect(() => x(4).rotary(positions, [], 1)).toThrow(/heads of 0/)
    expect(() => x(4).rotary(graph.input('p', 'i32', ['rows']), [1, 0.5], 1)).toThrow(/positions has shape \[rows\]/)
    expect(() => x(4).rotary(graph.input('f', 'f32', ['tokens']), [1, 0.5], 1)).toThrow(/positions is f32/)
  })
})
