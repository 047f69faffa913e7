/**
 * @file Trains all weights of a whole model: they are inputs of the program, as adapters are elsewhere.
 */
import { tensorsOf, type Backend } from '../../shared/backend/backend.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { extract } from '../../shared/graph/extract.js'
import { gradName, lossGraph, trainableWeights, withLossGradients, type ModelDefinition } from '../../shared/model/graphs.js'
import { scalar, type F32Tensor, type NamedTensors, type Tensor } from '../../shared/tensor.js'
import { adamw } from '../../shared/train/adamw.js'
import { packBatch, type Batch } from '../../shared/train/batch.js'
import { clipGradients } from '../../shared/train/clip.js'
import { addSums, type LossSums } from '../../shared/train/metrics.js'
import { scoredTokens, type TokenRow } from '../../shared/train/rows.js'
import type { PretrainConfig } from './config.js'
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
  /** Loss of these weights, `rowsPerBatch` rows at a time. */
  evaluate(rows: readonly TokenRow[], weights: NamedTensors, rowsPerBatch: number): Promise<LossSums>
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
  const forward = trainableWeights(lossGraph(model, 0), new Set(names))
  const noFrozenWeights = memoryWeights(new Map(), 'none')
  const training = await backend.compile(withLossGradients(forward, names), noFrozenWeights, { name: 'pretrain' })
  const evaluation = await backend.compile(extract(forward, new Map([['nll', forward.outputs.get('nll')!]])), noFrozenWeights, {
    name: 'pretrain-evaluate',
  })
  const groups = [true, false].map((decaying) => ({
    weights: new Map([...weights].filter(([name]) => decays(name) === decaying)),
    optimizer: adamw({ ...config, weight_decay: decaying ? config.weight_decay : 0 }),
  }))

  return {
    async step(rows, rate) {
      const batch = packBatch(rows)
      const scored = batch.targets.data.length
      const results = await training.run({ ...batchInputs(batch), ...Object.fromEntries(weights), normalizer: scalar(scored) })
      const [loss, ...tensors] = tensorsOf(results, ['loss', ...names.map(gradName)]) as F32Tensor[]
      const grads = new Map(names.map((name, index) => [name, tensors[index]]))
      const gradientNorm = clipGradients(grads, config.max_grad_norm)
      for (const group of groups) group.optimizer.step(group.weights, grads, rate)
      return { loss: loss.data[0], gradientNorm }
    },
    async evaluate(rows, evaluated, rowsPerBatch) {
      const sums: LossSums[] = []
      for (let start = 0; start < rows.length; start += rowsPerBatch) {
        const part = rows.slice(start, start + rowsPerBatch)
        const results = await evaluation.run({ ...batchInputs(packBatch(part)), ...Object.fromEntries(evaluated) })
        const [nll] = tensorsOf(results, ['nll'])
        sums.push({
          nll: nll.data[0],
          tokens: part.reduce((sum, row) => sum + scoredTokens(row), 0),
          bytes: part.reduce((sum, row) => sum + row.bytes, 0),
        })
      }
      return addSums(sums)
    },
    async dispose() {
      await training.dispose()
      await evaluation.dispose()
    },
  }
}

function batchInputs({ ids, positions, slots, places, scored, targets }: Batch): Record<string, Tensor> {
  return { ids, positions, slots, places, scored, targets }
}
