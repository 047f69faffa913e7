/**
 * @file Trains all weights of a whole model: they are inputs of the program, as adapters are elsewhere.
 */
import { tensorsOf, type Backend } from '../../shared/backend/backend.js'
import { gradName, lossGraph, trainableWeights, withLossGradients, type ModelDefinition } from '../../shared/model/graphs.js'
import { scalar, type F32Tensor } from '../../shared/tensor.js'
import { adamw } from '../../shared/train/adamw.js'
import { packBatch } from '../../shared/train/batch.js'
import { clipGradients } from '../../shared/train/clip.js'
import type { TokenRow } from '../../shared/train/rows.js'
import type { PretrainConfig } from './config.js'
import { batchInputs, NO_FROZEN_WEIGHTS } from './evaluation.js'
import { decays } from './initial.js'

export interface StepReport {
  /** Nats per scored token, before the update. */
  readonly loss: number
  /** Of all gradients together, before clipping. */
  readonly gradientNorm: number
}

export interface WholeModelTrainer {
  /** One AdamW step; writes into the arrays of the weights that the trainer was opened with. */
  step(rows: readonly TokenRow[], rate: number): Promise<StepReport>
  dispose(): Promise<void>
}

/** @param weights every tensor of the model, changed in place. */
export async function openTrainer(
  backend: Backend,
  model: ModelDefinition,
  weights: ReadonlyMap<string, F32Tensor>,
  config: PretrainConfig['train'],
): Promise<WholeModelTrainer> {
  const names = [...weights.keys()]
  const graph = withLossGradients(trainableWeights(lossGraph(model, 0), new Set(names)), names)
  const program = await backend.compile(graph, NO_FROZEN_WEIGHTS, { name: 'pretrain' })
  const groups = [true, false].map((decaying) => ({
    weights: new Map([...weights].filter(([name]) => decays(name) === decaying)),
    optimizer: adamw({ ...config, weight_decay: decaying ? config.weight_decay : 0 }),
  }))

  return {
    async step(rows, rate) {
      const batch = packBatch(rows)
      const given = { ...batchInputs(batch), ...Object.fromEntries(weights), normalizer: scalar(batch.targets.data.length) }
      const results = await program.run(given, { ignore: ['nll'] })
      const [loss, ...tensors] = tensorsOf(results, ['loss', ...names.map(gradName)]) as F32Tensor[]
      const grads = new Map(names.map((name, index) => [name, tensors[index]]))
      const gradientNorm = clipGradients(grads, config.max_grad_norm)
      for (const group of groups) group.optimizer.step(group.weights, grads, rate)
      return { loss: loss.data[0], gradientNorm }
    },
    dispose: () => program.dispose(),
  }
}
