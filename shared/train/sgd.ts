/**
 * @file Plain gradient descent, without momentum and so without state.
 */
import { unreachable } from '../errors.js'
import type { Optimizer } from './optimizer.js'

/**
 * p -= rate * (g + weightDecay * p): the decay is part of the gradient, not decoupled as AdamW's.
 *
 * Computed in float64, stored in float32. Source: torch 2.13, torch/optim/sgd.py, _single_tensor_sgd with momentum 0.
 */
export function sgd(weightDecay: number): Optimizer {
  return {
    state: null,
    step(params, grads, rate) {
      for (const [name, param] of params) {
        const grad = grads.get(name)
        if (grad?.data.length !== param.data.length) unreachable(`no gradient that fits ${name}`)
        const values = param.data
        const slopes = grad.data
        for (let index = 0; index < values.length; index++) values[index] -= rate * (slopes[index] + weightDecay * values[index])
      }
    },
  }
}
