/**
 * @file What a server has to know to go on after a round as if nothing had happened. Data only: `checkpoint/` writes it down and reads it back.
 *
 * Nothing else carries over: batches, masks and selections are functions of (seed, client, round, step), and what both ends of a cut remember of rows
 * is theirs to make anew.
 */
import type { Part } from '../shared/protocol/messages.js'
import type { TrafficLine } from '../shared/run-records.js'
import type { NamedTensors } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import type { ClientId, Member } from './round-state.js'

/** A client's own adapter, in the topology `local`. */
export interface OwnAdapter {
  /** The last round that it replied in. */
  readonly round: number
  readonly adapter: NamedTensors
  /** Where the server stores them (`optimizer_state: average`). */
  readonly moments: OptimizerState | null
}

export interface SavedClients {
  /** The one that all share; in the topology `local` what every client starts from. */
  readonly adapter: NamedTensors
  /** What the next round's optimizers start from; null: fresh ones, or those that clients keep. */
  readonly moments: OptimizerState | null
  /** The last round of whose mean each client was part. */
  readonly keptRounds: ReadonlyMap<ClientId, number>
  /** What the strategy keeps for itself. */
  readonly strategy: NamedTensors | null
  readonly own: ReadonlyMap<ClientId, OwnAdapter>
}

export interface SavedTop {
  readonly adapter: NamedTensors
  /** The top's own; of a replicated one what copies start from. */
  readonly moments: OptimizerState | null
  /** Of copies that go on with their own (`optimizer_state: keep`). */
  readonly kept: ReadonlyMap<ClientId, OptimizerState>
}

export interface SavedMember {
  readonly id: ClientId
  /** Its part of the data; null: it brings its own, or holds all. */
  readonly part: Part | null
  /** null: it had not come so far as to tell. */
  readonly counts: Member['counts']
  /** Whether it was there, with model and data. */
  readonly isReady: boolean
}

/** As of the end of a round. */
export interface SavedState {
  readonly round: number
  readonly attempt: number
  /** Of a round in the schedule. */
  readonly localSteps: number
  readonly members: readonly SavedMember[]
  readonly clients: SavedClients
  /** null where clients hold the whole model. */
  readonly top: SavedTop | null
  /** What has crossed the links and is not in traffic.jsonl yet. */
  readonly traffic: readonly TrafficLine[]
}
