import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { GraphBuilder } from '../graph.js'
import { ops } from '../ops/index.js'
import { f64, normal } from './forward.js'
import { expectGradient } from './gradient.js'

describe('expectGradient', () => {
  test('agrees with a gradient that is right', () => {
    expectGradient(({ x, y }) => x.mul(y).tanh(), { x: normal([2, 3], 'x'), y: normal([3], 'y') })
  })
  test('fails on a gradient that is wrong by a millionth', () => {
    const builder = new GraphBuilder({
      ...ops,
      exp: { ...ops.exp, vjp: ({ grad, out }: Parameters<typeof ops.exp.vjp>[0]) => ({ x: grad.mul(out).mul(1 + 2e-6) }) },
    })
    expect(() => expectGradient(({ x }) => x.exp(), { x: f64([2], [0.5, 1]) }, { builder })).toThrow(/gradient of x is off by/)
    expectGradient(({ x }) => x.exp(), { x: f64([2], [0.5, 1]) })
  })
  test('fails on a gradient that is missing', () => {
    const builder = new GraphBuilder({ ...ops, neg: { ...ops.neg, vjp: () => ({ x: null }) } })
    expect(() => expectGradient(({ x }) => x.neg(), { x: f64([1], [1]) }, { builder })).toThrow(/gradient of x is off by/)
  })
  test('fails on a gradient of indices', () => {
    const builder = new GraphBuilder({
      ...ops,
      gather: { ...ops.gather, vjp: ({ indices, grad }: Parameters<typeof ops.gather.vjp>[0]) => ({ table: grad, indices }) },
    })
    expect(() =>
      expectGradient(({ table, at }) => table.gather(at), { table: f64([1, 1], [1]), at: i32([1], [0]) }, { builder }),
    ).toThrow(/indices at have no gradient/)
  })
})
