import { describe, expect, test } from 'vitest'
import { graphWeights } from './data.js'
import { extract } from './extract.js'
import { gradients } from './grad.js'
import { newGraph } from './ops/index.js'
import { compute, expectArray, f64, normal } from './testing/forward.js'
import { expectGradient } from './testing/gradient.js'

describe('gradients', () => {
  test('add up over every use of a value', () => {
    // d/dx (x^2 + 3x + x e^x) at 2 = 4 + 3 + 3 e^2.
    const builder = newGraph()
    const x = builder.input('x', 'f32', [])
    const y = x.square().add(x.mul(3)).add(x.mul(x.exp()))
    const [slope] = gradients(builder, [[y, builder.constant(1)]], [x])
    expectArray(compute(builder.finish(), { x: f64([], [2]) })[slope!.id], [], [7 + 3 * Math.exp(2)], 1e-12)
  })
  test('agree with central differences through a fan of shared results', () => {
    expectGradient(
      ({ x, w }) => {
        const shared = x.gemm(w).tanh()
        return [shared.mul(shared.exp()), shared.sum([1]).add(shared), shared]
      },
      { x: normal([2, 3], 'x'), w: normal([3, 3], 'w') },
    )
  })
  test('append nothing below the lowest value asked for', () => {
    const builder = newGraph()
    const below = builder
      .input('x', 'f32', ['tokens', 4])
      .gelu()
      .gemm(builder.weight('low', [4, 4]))
    const entry = below.layerNorm(builder.weight('w', [4]), builder.weight('b', [4]), 1e-5)
    const y = entry.gemm(builder.weight('high', [4, 2]))
    const before = builder.nodes.length
    const [slope] = gradients(builder, [[y, builder.input('up', 'f32', ['tokens', 2])]], [entry])
    // The product's other gradient, that of the frozen weight, is dropped with all that serves nothing.
    expect(builder.nodes.slice(before).map(({ op }) => op)).toEqual(['gemm', 'gemm'])
    const backward = extract(builder.finish(), new Map([['slope', slope!.id]]))
    expect(backward.nodes.map(({ op }) => op)).toEqual(['gemm'])
    expect([...graphWeights(backward).keys()]).toEqual(['high'])
    expect(slope!.shape).toEqual(['tokens', 4])
  })
  test('append nothing for a branch that does not depend on what is asked for', () => {
    const builder = newGraph()
    const [x, other] = [builder.input('x', 'f32', [2]), builder.input('other', 'f32', [2])]
    const y = x.neg().add(other.tanh().gelu())
    const before = builder.nodes.length
    gradients(builder, [[y, builder.constant([1, 1], [2])]], [x])
    expect(builder.nodes.slice(before).map(({ op }) => op)).toEqual(['neg'])
  })
  test('are null where no path leads, and through indices', () => {
    const builder = newGraph()
    const [x, other] = [builder.input('x', 'f32', [3, 2]), builder.input('other', 'f32', [2])]
    const at = builder.input('at', 'i32', [4])
    const later = x.exp()
    const seed = builder.input('up', 'f32', [4, 2])
    expect(gradients(builder, [[x.gather(at), seed]], [other, at, later])).toEqual([null, null, null])
  })
  test('of a seed itself are its cotangent, and what comes through later seeds is added', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', [])
    const y = x.mul(5)
    const z = y.square()
    const [alone] = gradients(builder, [[y, builder.constant(7)]], [y])
    const [both, whole] = gradients(
      builder,
      [
        [y, builder.constant(7)],
        [z, builder.constant(1)],
      ],
      [y, x],
    )
    const values = compute(builder.finish(), { x: f64([], [2]) })
    expectArray(values[alone!.id], [], [7])
    // 7 + 2y with y = 10, and 5 times that.
    expectArray(values[both!.id], [], [27])
    expectArray(values[whole!.id], [], [135])
  })
  test('reach values that another one asked for depends on', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', [])
    const y = x.mul(2)
    const [dx, dy] = gradients(builder, [[y.square(), builder.constant(1)]], [x, y])
    const values = compute(builder.finish(), { x: f64([], [3]) })
    expectArray(values[dy!.id], [], [12])
    expectArray(values[dx!.id], [], [24])
  })
  test('are right where only some outputs of a node are used', () => {
    expectGradient(({ x }) => x.split(1, 3)[2].exp(), { x: normal([2, 6], 'x') })
    expectGradient(
      ({ x }) => {
        const [first, , third] = x.split(1, 3)
        return first.mul(third)
      },
      { x: normal([2, 6], 'x') },
    )
  })
  test('can be taken of gradients', () => {
    expectGradient(({ x, up }) => gradients(x.builder, [[x.softmax().mul(x.tanh()), up]], [x])[0]!, {
      x: normal([2, 3], 'x'),
      up: normal([2, 3], 'up'),
    })
  })
  test('leave the forward nodes as they were', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', [2])
    const y = x.exp().log()
    const before = builder.finish()
    gradients(builder, [[y, builder.constant([1, 1], [2])]], [x])
    expect(builder.nodes.slice(0, before.nodes.length)).toEqual(before.nodes)
    expect(builder.values.slice(0, before.values.length)).toEqual(before.values)
  })
})
