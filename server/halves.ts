/**
 * @file The whole adapter divided at the cut, and who has each half.
 */
import type { Config } from '../shared/config/schema.js'
import type { TopStage } from '../shared/model/stage.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import { createOptimizer } from '../shared/train/optimizers.js'
import { Aggregation } from './aggregation.js'
import type { ClientAdapters } from './client-adapters.js'
import { OwnAdapters } from './own-adapters.js'
import type { Strategy } from './strategy/strategy.js'
import { copyTensors, TopTrainer } from './top.js'

/** The halves, with memory of their own. @param top null where clients hold the whole model */
export function halvesOf(whole: NamedTensors, top: TopStage | null): Record<'clients' | 'top', Map<string, F32Tensor>> {
  const names = new Set(top?.adapterNames ?? [])
  const half = (isTop: boolean): Map<string, F32Tensor> => copyTensors(new Map([...whole].filter(([name]) => names.has(name) === isTop)))
  return { clients: half(false), top: half(true) }
}

/** Who keeps the clients' half. */
export function clientAdapters(start: NamedTensors, strategy: Strategy, { split, train, federation }: Config): ClientAdapters {
  // SGD remembers nothing, so there is nothing that clients could keep.
  const settings = train.optim === 'sgd' ? { ...federation, optimizer_state: 'reset' as const } : federation
  return split.topology === 'local'
    ? new OwnAdapters(start, settings.optimizer_state)
    : new Aggregation(start, strategy, settings, train.seed)
}

export function topTrainer(stage: TopStage, start: NamedTensors, { train, federation }: Config): TopTrainer {
  return new TopTrainer({
    stage,
    start,
    replicated: federation.top === 'replicated',
    optimizerState: federation.optimizer_state,
    maxGradNorm: train.max_grad_norm,
    newOptimizer: (state) => createOptimizer(train, state),
  })
}
