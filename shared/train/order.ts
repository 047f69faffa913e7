/**
 * @file Which rows make up a client's micro-batches: an endless order that is a pure function of seed, client and number.
 *
 * Nothing is stored between rounds, so batches stay the same in every topology, after a missed round and after a resume.
 */
import { unreachable } from '../errors.js'
import { derive } from '../random.js'

/** Batches that are sorted by length together, as in transformers' `get_length_grouped_indices`. */
const WINDOW_BATCHES = 50
/** A batch that runs over an epoch's end needs two. */
const CACHED_EPOCHS = 2

export interface OrderOptions {
  readonly seed: number
  /** The client's id. */
  readonly client: string
  /** Tokens of each row, in file order; at least one row. */
  readonly lengths: ArrayLike<number>
  /** Rows of a micro-batch. */
  readonly batchSize: number
  /** False: file order in every epoch, and `groupByLength` has no effect. */
  readonly shuffle: boolean
  readonly groupByLength: boolean
}

/** Row numbers of the micro-batch with that number (from 0), i32 [batchSize]. Any number may be asked for at any time. */
export type RowOrder = (microBatch: number) => Int32Array

export interface MicroBatchPlace {
  /** From 1. */
  readonly round: number
  /** From 0. */
  readonly step: number
  readonly micro: number
  /** Local steps the client makes in a round. */
  readonly localSteps: number
  /** Micro-batches of a local step. */
  readonly accumulation: number
}

/** The number, from 0, of a micro-batch in its client's endless order. */
export function microBatchNumber({ round, step, micro, localSteps, accumulation }: MicroBatchPlace): number {
  return ((round - 1) * localSteps + step) * accumulation + micro
}

/**
 * The endless order of a client's rows: epoch after epoch, each holding every row once, cut into full batches that run over an epoch's end.
 *
 * Fewer rows than a batch: the batch goes on into the next epochs, so that it is always full.
 */
export function rowOrder(options: OrderOptions): RowOrder {
  const rows = options.lengths.length
  const { batchSize } = options
  if (rows === 0) unreachable('an order of no rows')
  if (!Number.isInteger(batchSize) || batchSize < 1) unreachable(`batches of ${batchSize} rows`)
  const cache = new Map<number, Int32Array>()
  const epochRows = (epoch: number): Int32Array => {
    let order = cache.get(epoch)
    if (!order) {
      order = epochOrder(options, epoch)
      for (const oldest of cache.keys()) if (cache.size >= CACHED_EPOCHS) cache.delete(oldest)
      cache.set(epoch, order)
    }
    return order
  }
  return (microBatch) => {
    if (!Number.isSafeInteger(microBatch) || microBatch < 0) unreachable(`micro-batch number ${microBatch}`)
    const first = microBatch * batchSize
    return Int32Array.from({ length: batchSize }, (_, index) => epochRows(Math.floor((first + index) / rows))[(first + index) % rows])
  }
}

/** The rows of one epoch in order: each row once. i32 [rows]. */
function epochOrder({ seed, client, lengths, batchSize, shuffle, groupByLength }: OrderOptions, epoch: number): Int32Array {
  const rows = lengths.length
  if (!shuffle) return Int32Array.from({ length: rows }, (_, index) => index)
  const order = derive(seed, 'order', client, epoch).permutation(rows)
  if (!groupByLength) return order

  // The batch that the last epoch left unfinished takes rows as they come, and so does the one that this epoch leaves;
  // between them lie full batches, and only those are grouped.
  const begun = (epoch * rows) % batchSize
  const head = begun === 0 ? 0 : batchSize - begun
  const windowRows = WINDOW_BATCHES * batchSize
  for (let start = head, window = 0; start + batchSize <= rows; start += windowRows, window++) {
    const batches = Math.min(WINDOW_BATCHES, Math.floor((rows - start) / batchSize))
    // Sorting is stable, so rows of one length keep the permutation's order.
    const sorted = order.slice(start, start + batches * batchSize).sort((a, b) => lengths[a] - lengths[b])
    // Shuffled again, or each window would begin with its shortest rows.
    const places = derive(seed, 'order-batches', client, epoch, window).permutation(batches)
    places.forEach((place, batch) => order.set(sorted.subarray(batch * batchSize, (batch + 1) * batchSize), start + place * batchSize))
  }
  return order
}
