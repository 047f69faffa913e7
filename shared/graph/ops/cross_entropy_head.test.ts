import { describe, expect, test } from 'vitest'
import { i32 } from '../../tensor.js'
import { expectArray, f64, forward, normal } from '../testing/forward.js'
import { expectGradient } from '../testing/gradient.js'
import type { Value } from '../graph.js'
import { newGraph } from './index.js'

describe('cross_entropy_head', () => {
  const head = ({ hidden, weight, targets }: Record<'hidden' | 'weight' | 'targets', Value>) => {
    const { nll, logSumExp, slope } = hidden.crossEntropyHead(weight, targets)
    return [nll, logSumExp, slope]
  }
  // Targets repeat, and vocabulary entries 2 and 4 are never one.
  const inputs = { hidden: normal([4, 3], 'hidden'), weight: normal([5, 3], 'weight'), targets: i32([4], [1, 3, 1, 0]) }
  const shapes = { hidden: ['scored', 3], targets: ['scored'] }
  test('gives the likelihood that hand-worked logits have', () => {
    // Logits (0, ln 3) in both rows: probabilities 1/4 and 3/4, log of the sum of powers ln 4.
    const given = { hidden: f64([2, 1], [1, 1]), weight: f64([2, 1], [0, Math.log(3)]), targets: i32([2], [0, 1]) }
    const [nll, logSumExp, slope] = forward(head, given)
    expectArray(nll, [2], [Math.log(4), Math.log(4 / 3)])
    expectArray(logSumExp, [2], [Math.log(4), Math.log(4)])
    expectArray(slope, [2, 2], [-0.75, 0.75, 0.25, -0.25])
  })
  test('does not overflow', () => {
    const given = { hidden: f64([1, 1], [1e4]), weight: f64([2, 1], [1, 0]), targets: i32([1], [1]) }
    expectArray(forward(head, given)[0], [1], [1e4])
    expectArray(forward(head, given)[2], [1, 2], [1, -1])
  })
  test('is certain of a vocabulary of one, and takes no row', () => {
    expectArray(forward(head, { hidden: f64([1, 1], [3]), weight: f64([1, 1], [2]), targets: i32([1], [0]) })[0], [1], [0])
    expectArray(forward(head, { hidden: f64([0, 3], []), weight: inputs.weight, targets: i32([0], []) })[0], [0], [])
  })
  test('has the gradient that central differences give, into hidden and weight', () => {
    expectGradient((values) => head(values)[0], inputs, { shapes })
  })
  test('has the gradient of its log-sum-exp, alone and beside the likelihood', () => {
    expectGradient((values) => head(values)[1], inputs, { shapes })
    expectGradient((values) => head(values).slice(0, 2), inputs, { shapes })
  })
  test('has the gradient of a smoothed loss, whose mean logit is taken outside', () => {
    // (1 - e) nll + e mean over the vocabulary of -log p = (1 - e) nll + e (logSumExp - hidden . mean_v W[v]).
    const smoothed = (values: Record<'hidden' | 'weight' | 'targets', Value>) => {
      const [nll, logSumExp] = head(values)
      const meanLogit = values.hidden.gemm(values.weight.sum([0]).div(5), { transposeB: true }).reshape(['scored'])
      return nll.mul(0.9).add(logSumExp.sub(meanLogit).mul(0.1))
    }
    expectGradient(smoothed, inputs, { shapes })
  })
  test('refuses to be differentiated through its slope', () => {
    expect(() => expectGradient((values) => head(values)[2], inputs)).toThrow(/slope is not differentiable/)
  })
  test.each([-1, 5])('refuses the target %d of a vocabulary of five', (target) => {
    const given = { hidden: normal([1, 3], 'h'), weight: inputs.weight, targets: i32([1], [target]) }
    expect(() => forward(head, given)).toThrow(`index ${target} is not in 0..4`)
  })
  test('refuses a width, a number of targets or a dtype that does not fit', () => {
    const graph = newGraph()
    const [hidden, weight, targets] = [
      graph.input('h', 'f32', ['scored', 3]),
      graph.weight('w', [5, 3]),
      graph.input('t', 'i32', ['scored']),
    ]
    expect(hidden.crossEntropyHead(weight, targets).slope.shape).toEqual(['scored', 5])
    expect(() => hidden.crossEntropyHead(graph.weight('v', [3, 5]), targets)).toThrow(/weight has shape/)
    expect(() => hidden.crossEntropyHead(weight, graph.input('all', 'i32', ['tokens']))).toThrow(/targets has shape/)
    expect(() => hidden.crossEntropyHead(weight, graph.input('f', 'f32', ['scored']))).toThrow(/is f32, not i32/)
    expect(() => graph.input('row', 'f32', [3]).crossEntropyHead(weight, targets)).toThrow(/not 2 axes/)
  })
})
