/**
 * @file The clients' side of the adapter over the rounds: what each starts from, and what becomes of what they send. `aggregation.ts` makes one
 * of all; `own-adapters.ts` keeps each client's apart.
 */
import type { Config } from '../shared/config/schema.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import type { CodedMoments, MessageOf, TensorMap } from '../shared/protocol/messages.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { readAdapter, readMoments } from './inbox.js'
import type { ClientId, Member } from './round-state.js'
import type { SavedClients } from './saved-state.js'
import type { AdapterReply } from './strategy/strategy.js'

export type Counts = NonNullable<Member['counts']>

/** What a round's replies came to. */
export interface RoundOutcome {
  /** Whose adapter is another now; null: the one that all share. */
  readonly changed: readonly (ClientId | null)[]
  /** What was merged, with the weights that a replicated top takes too; nothing where every client keeps its own. */
  readonly merged: readonly AdapterReply[]
}

export interface ClientAdapters {
  /** A client's as of its last reply that counted; null: the shared one, or what all started from where none is shared. */
  adapterOf(client: ClientId | null): NamedTensors
  /** The same as messages carry it. */
  codedOf(client: ClientId): TensorMap
  startRound(): void
  /** What a client's round starts from, as a `round-start` carries it. */
  startOf(client: ClientId): Pick<MessageOf<'round-start'>, 'adapter' | 'moments' | 'keep_from'>
  /** Where the client's moments are that it keeps itself (`optimizer_state: keep`); null: it has none, or was never asked to. */
  keptRound(client: ClientId): number | null
  /** The client has lost them, and begins with empty ones. */
  forgetKept(client: ClientId): void
  /**
   * Takes in a client's adapter, which counts once the round ends with it.
   * @param mostUpdates that its optimizer can have made by now.
   * @throws UserError MESSAGE_INVALID
   */
  take(client: ClientId, message: MessageOf<'adapter'>, counts: Counts, mostUpdates: number): void
  /** Ends the round with the replies of these clients. @throws UserError what the strategy throws. */
  endRound(round: number, clients: readonly ClientId[]): RoundOutcome
  /** What lasts from round to round. It is not changed later. */
  save(): SavedClients
  /** Goes back to what was saved, and forgets the replies of the round. */
  restore(saved: SavedClients): void
}

/** A client's reply, read. */
export interface Reply {
  readonly adapter: Map<string, F32Tensor>
  /** null where they stay with the client, are reset, or do not exist. */
  readonly moments: OptimizerState | null
}

/**
 * @param like the adapter that the client was given.
 * @throws UserError MESSAGE_INVALID
 */
export function readReply(
  message: MessageOf<'adapter'>,
  like: NamedTensors,
  mostUpdates: number,
  optimizerState: Config['federation']['optimizer_state'],
): Reply {
  // Moments that the server does not hold are the client's own business.
  const moments = optimizerState === 'average' ? message.moments : null
  return { adapter: readAdapter(message.adapter, like), moments: moments && readMoments(moments, like, mostUpdates) }
}

export function encodeMoments({ updates, mean, square }: OptimizerState): CodedMoments {
  return { updates, mean: encodeTensors(mean), square: encodeTensors(square) }
}
