/**
 * @file Where a trainer's batches come from. Real clients draw them from their rows; tests may inject others.
 */
import type { ClientConfig } from '../shared/config/schema.js'
import { packBatch, type Batch } from '../shared/train/batch.js'
import { microBatchNumber, rowOrder } from '../shared/train/order.js'
import { scoredTokens, type ClientRows } from '../shared/train/rows.js'

export interface ClientData {
  /** Training rows held, and scored tokens in them: what weights the client in the mean. */
  readonly examples: number
  readonly tokens: number
  readonly evalExamples: number
  /** The micro-batches of one local step. `steps`: local steps that the client makes in each round. */
  localStep(round: number, step: number, steps: number): readonly Batch[]
  /**
   * The held-out rows in batches, each with the UTF-8 bytes of its scored text. With `maxBatches`, so many of them, evenly spread: the
   * first would all be of one speech.
   */
  evaluation(maxBatches: number | null): Iterable<{ readonly batch: Batch; readonly bytes: number; readonly rows: number }>
}

/** Batches of a client's own rows, in the order that its id and the run's seed give. */
export function dataFromRows(rows: ClientRows, client: string, { train, data }: ClientConfig): ClientData {
  const { per_device_train_batch_size: batchSize, gradient_accumulation_steps: accumulation, seed, group_by_length } = train
  const order = rowOrder({
    seed,
    client,
    lengths: rows.train.map(({ ids }) => ids.length),
    batchSize,
    shuffle: data.shuffle,
    groupByLength: group_by_length,
  })
  return {
    examples: rows.train.length,
    tokens: rows.train.reduce((sum, row) => sum + scoredTokens(row), 0),
    evalExamples: rows.evaluation.length,
    localStep: (round, step, steps) =>
      Array.from({ length: accumulation }, (_, micro) => {
        const numbers = order(microBatchNumber({ round, step, micro, localSteps: steps, accumulation }))
        return { ...packBatch(Array.from(numbers, (row) => rows.train[row])), rows: numbers }
      }),
    *evaluation(maxBatches) {
      const batches = Math.ceil(rows.evaluation.length / batchSize)
      const count = Math.min(batches, maxBatches ?? batches)
      for (let i = 0; i < count; i++) {
        const from = Math.floor((i * batches) / count) * batchSize
        const part = rows.evaluation.slice(from, from + batchSize)
        yield { batch: packBatch(part), bytes: part.reduce((sum, { bytes }) => sum + bytes, 0), rows: part.length }
      }
    },
  }
}
