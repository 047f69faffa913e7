/**
 * @file What an aggregation strategy decides: who trains, who evaluates, and how replies become the next adapter.
 */
import type { Random } from '../../shared/random.js'
import type { NamedTensors } from '../../shared/tensor.js'
import type { OptimizerState } from '../../shared/train/optimizer.js'

export type ClientId = string

export interface AdapterReply {
  readonly client: ClientId
  /** Its weight in the mean; over all replies they sum to one. */
  readonly weight: number
  /** A f32 [rank, in], B f32 [out, rank]. */
  readonly adapter: NamedTensors
  /** AdamW's moments; null where they stay with the client, are reset, or do not exist. */
  readonly moments: OptimizerState | null
}

export interface Merged {
  readonly adapter: NamedTensors
  readonly moments: OptimizerState | null
}

/** One file per strategy; each step is a pure function. */
export interface Strategy {
  readonly name: string
  /** `ready` is in id order, and so is the answer. */
  selectTrain(ready: readonly ClientId[], random: Random): readonly ClientId[]
  selectEvaluate(ready: readonly ClientId[], random: Random): readonly ClientId[]
  /** @throws UserError NO_REPLIES, RANK_MISMATCH */
  merge(replies: readonly AdapterReply[]): Merged
}
