import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { GraphBuilder, type OpTable } from '../graph.js'
import { ops } from '../ops/index.js'
import { f64, normal } from './forward.js'
import { expectGradient } from './gradient.js'

/** The op table with another gradient for one op. */
function withVjp<Name extends 'exp' | 'neg' | 'gather'>(name: Name, vjp: (typeof ops)[Name]['vjp']): GraphBuilder {
  const table: OpTable = { ...ops, [name]: { ...ops[name], vjp } }
  return new GraphBuilder(table)
}

describe('expectGradient', () => {
  test('agrees with a gradient that is right', () => {
    expectGradient(({ x, y }) => x.mul(y).tanh(), { x: normal([2, 3], 'x'), y: normal([3], 'y') })
  })
  test('fails on a gradient that is wrong by two millionths', () => {
    const builder = withVjp('exp', ({ grad, out }) => ({ x: grad.mul(out).mul(1 + 2e-6) }))
    expect(() => expectGradient(({ x }) => x.exp(), { x: f64([2], [0.5, 1]) }, { builder })).toThrow(/gradient of x is off by/)
  })
  test('fails on a gradient that is missing', () => {
    const builder = withVjp('neg', () => ({ x: null }))
    expect(() => expectGradient(({ x }) => x.neg(), { x: f64([1], [1]) }, { builder })).toThrow(/gradient of x is off by/)
  })
  test('fails on a gradient of indices', () => {
    const builder = withVjp('gather', ({ grad, indices }) => ({ table: grad, indices }))
    const inputs = { table: f64([1, 1], [1]), at: i32([1], [0]) }
    expect(() => expectGradient(({ table, at }) => table.gather(at), inputs, { builder })).toThrow(/indices at have no gradient/)
  })
})
