/**
 * @file AdamW as PyTorch computes it: decoupled weight decay, bias-corrected moments.
 */
import { unreachable } from '../errors.js'
import { f32, type F32Tensor } from '../tensor.js'
import type { Optimizer, OptimizerConfig, OptimizerState } from './optimizer.js'

/** A state that has seen no gradient. Moments appear at a parameter's first update, as zeros. */
export function emptyState(): OptimizerState {
  return { updates: 0, mean: new Map(), square: new Map() }
}

/**
 * With rate r, decay w, epsilon e and step count t, for each element:
 * p -= r w p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= r / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + e).
 *
 * Computed in float64, stored in float32.
 *
 * @param state taken over and changed in place.
 * Source: Loshchilov & Hutter 2019, arXiv:1711.05101; torch 2.13, torch/optim/adam.py, _single_tensor_adam with decoupled_weight_decay.
 */
export function adamw(config: Omit<OptimizerConfig, 'optim'>, state: OptimizerState = emptyState()): Optimizer {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay: decay } = config
  return {
    state,
    step(params, grads, rate) {
      state.updates++
      const stepSize = rate / (1 - beta1 ** state.updates)
      const squareCorrection = Math.sqrt(1 - beta2 ** state.updates)
      for (const [name, param] of params) {
        const grad = grads.get(name)
        if (grad?.data.length !== param.data.length) unreachable(`no gradient that fits ${name}`)
        const mean = momentOf(state.mean, name, param).data
        const square = momentOf(state.square, name, param).data
        const values = param.data
        const slopes = grad.data
        for (let index = 0; index < values.length; index++) {
          const slope = slopes[index]
          const newMean = beta1 * mean[index] + (1 - beta1) * slope
          const newSquare = beta2 * square[index] + (1 - beta2) * slope * slope
          mean[index] = newMean
          square[index] = newSquare
          values[index] = values[index] * (1 - rate * decay) - (stepSize * newMean) / (Math.sqrt(newSquare) / squareCorrection + epsilon)
        }
      }
    },
  }
}

function momentOf(moments: Map<string, F32Tensor>, name: string, param: F32Tensor): F32Tensor {
  let moment = moments.get(name)
  if (!moment) {
    moment = f32(param.shape, new Float32Array(param.data.length))
    moments.set(name, moment)
  }
  if (moment.data.length !== param.data.length) unreachable(`a moment of ${moment.data.length} elements for ${name}`)
  return moment
}
