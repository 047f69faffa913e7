/**
 * @file The optimizer that a config names.
 */
import { unreachable } from '../errors.js'
import { adamw, emptyState } from './adamw.js'
import type { Optimizer, OptimizerConfig, OptimizerState } from './optimizer.js'
import { sgd } from './sgd.js'

/** @param state the moments to go on with, taken over; null: none yet. `sgd` has none and ignores it. */
export function createOptimizer(config: OptimizerConfig, state: OptimizerState | null): Optimizer {
  switch (config.optim) {
    case 'adamw':
      return adamw(config, state ?? emptyState())
    case 'sgd':
      return sgd(config.weight_decay)
    default:
      return unreachable(`optimizer ${String(config.optim)}`)
  }
}
