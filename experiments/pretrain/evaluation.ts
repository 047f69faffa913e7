/**
 * @file The loss of a whole model whose weights are handed in.
 */
import { tensorsOf, type Backend } from '../../shared/backend/backend.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { extract } from '../../shared/graph/extract.js'
import { lossGraph, trainableWeights, type ModelDefinition } from '../../shared/model/graphs.js'
import type { NamedTensors, Tensor } from '../../shared/tensor.js'
import { packBatch, type Batch } from '../../shared/train/batch.js'
import { addSums, type LossSums } from '../../shared/train/metrics.js'
import { scoredTokens, type TokenRow } from '../../shared/train/rows.js'

/** For graphs whose weights are all inputs. */
export const NO_FROZEN_WEIGHTS = memoryWeights(new Map(), 'none')

export interface Evaluation {
  /** @param weights every tensor of the model, by checkpoint name. @param rowsPerBatch how many rows run at a time. */
  evaluate(rows: readonly TokenRow[], weights: NamedTensors, rowsPerBatch: number): Promise<LossSums>
  dispose(): Promise<void>
}

export async function openEvaluation(backend: Backend, model: ModelDefinition): Promise<Evaluation> {
  const graph = trainableWeights(lossGraph(model, 0), new Set(model.family.tensors(model.config).keys()))
  const nllOnly = extract(graph, new Map([['nll', graph.outputs.get('nll')!]]))
  const program = await backend.compile(nllOnly, NO_FROZEN_WEIGHTS, { name: 'pretrain-evaluate' })
  return {
    async evaluate(rows, weights, rowsPerBatch) {
      const sums: LossSums[] = []
      for (let start = 0; start < rows.length; start += rowsPerBatch) {
        const part = rows.slice(start, start + rowsPerBatch)
        const results = await program.run({ ...batchInputs(packBatch(part)), ...Object.fromEntries(weights) })
        const [nll] = tensorsOf(results, ['nll'])
        const tokens = part.reduce((sum, row) => sum + scoredTokens(row), 0)
        sums.push({ nll: nll.data[0], tokens, bytes: part.reduce((sum, row) => sum + row.bytes, 0) })
      }
      return addSums(sums)
    },
    dispose: () => program.dispose(),
  }
}

/** A batch under the names that a whole model's graph has for it. */
export function batchInputs({ ids, positions, slots, places, scored, targets }: Batch): Record<string, Tensor> {
  return { ids, positions, slots, places, scored, targets }
}
