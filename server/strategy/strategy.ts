/**
 * @file What an aggregation strategy decides: who trains, who evaluates, and how replies become the next adapter.
 *
 * Strategies that come with cutlayer and those of its users are the same to the server. It averages what it trains itself (the top);
 * a strategy sees what clients send: their half of the adapter, or all of it where they hold the whole model.
 */
import type { Random } from '../../shared/random.js'
import type { NamedTensors } from '../../shared/tensor.js'
import type { OptimizerState } from '../../shared/train/optimizer.js'

export type ClientId = string

export interface AdapterReply {
  readonly client: ClientId
  /** Its weight in the mean, by `federation.weight_by`; over all replies they sum to one. */
  readonly weight: number
  /** Training rows that it holds, and scored tokens in them, as it says. */
  readonly examples: number
  readonly tokens: number
  /** A f32 [rank, in], B f32 [out, rank]. */
  readonly adapter: NamedTensors
  /** AdamW's moments; null where they stay with the client, are reset, or do not exist. */
  readonly moments: OptimizerState | null
}

export interface AggregationContext {
  /** From 1. */
  readonly round: number
  /** What the round's clients started from: the names and shapes that the next adapter has too. */
  readonly adapter: NamedTensors
  /** What the strategy gave as `state` in the round before; null in the first. */
  readonly state: NamedTensors | null
  /** The same numbers for the same seed and round. */
  readonly random: Random
  /** FedAvg's answer: sum_k p_k w_k of the replies' adapters. */
  average(): NamedTensors
}

export interface Aggregated {
  readonly adapter: NamedTensors
  /** What the next round's optimizers start from; null: fresh ones. Left out: both moments averaged by the replies' weights. */
  readonly moments?: OptimizerState | null
  /** What the strategy wants to find in the next round, under names of its own. Left out: nothing. */
  readonly state?: NamedTensors
}

/** One file per strategy; each step is a pure function: what is to last goes through `state`. */
export interface Strategy {
  readonly name: string
  /** `ready` is in id order, and so is the answer. Rounds count from 1. */
  selectTrain(ready: readonly ClientId[], random: Random, round: number): readonly ClientId[]
  /** Round 0 is the evaluation before training. */
  selectEvaluate(ready: readonly ClientId[], random: Random, round: number): readonly ClientId[]
  /** At least one reply, in id order. @throws UserError NO_REPLIES, RANK_MISMATCH, BAD_STRATEGY */
  aggregate(replies: readonly AdapterReply[], context: AggregationContext): Aggregated
}
