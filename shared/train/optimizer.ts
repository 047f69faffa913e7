/**
 * @file What every optimizer can do.
 */
import type { F32Tensor, NamedTensors } from '../tensor.js'

/** AdamW's memory of the gradients it has seen, by parameter; shapes as the parameters. */
export interface OptimizerState {
  /** Updates made, which is not the schedule's position. */
  updates: number
  /** Running mean of the gradient. */
  readonly mean: Map<string, F32Tensor>
  /** Running mean of its square. */
  readonly square: Map<string, F32Tensor>
}

export interface Optimizer {
  /** Live, not a copy; null for an optimizer that remembers nothing. */
  readonly state: OptimizerState | null
  /**
   * One update of every parameter, written into its array.
   *
   * @param grads one for each parameter, of its shape.
   * @param rate the scheduled learning rate; at 0 the parameters stay and the state moves.
   */
  step(params: ReadonlyMap<string, F32Tensor>, grads: NamedTensors, rate: number): void
}

/** The `train` keys that shape an optimizer. */
export interface OptimizerConfig {
  readonly optim: 'adamw' | 'sgd'
  readonly adam_beta1: number
  readonly adam_beta2: number
  readonly adam_epsilon: number
  readonly weight_decay: number
}
