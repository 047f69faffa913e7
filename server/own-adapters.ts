/**
 * @file Topology `local`: every client has an adapter of its own from round to round, and nothing is averaged with anybody's.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import type { MessageOf, TensorMap } from '../shared/protocol/messages.js'
import type { NamedTensors } from '../shared/tensor.js'
import { encodeMoments, readReply, type ClientAdapters, type Counts, type Reply, type RoundOutcome } from './client-adapters.js'
import type { ClientId } from './round-state.js'
import type { OwnAdapter, SavedClients } from './saved-state.js'

/**
 * The server stores the adapters, so that a client that misses rounds, or starts again, goes on with its own last one. Moments follow
 * `optimizer_state`: with `average` the server stores each client's own, with `keep` the client does, with `reset` nobody.
 */
export class OwnAdapters implements ClientAdapters {
  /** Of replies that counted. */
  private readonly kept = new Map<ClientId, OwnAdapter>()
  /** The last round that each client replied in; where its kept moments are from. */
  private readonly keptRounds = new Map<ClientId, number>()
  /** Of this round. They outlive the connection: a client that has replied may leave. */
  private readonly replies = new Map<ClientId, Reply>()

  /** @param start what every client starts from. */
  constructor(
    private start: NamedTensors,
    private readonly optimizerState: Config['federation']['optimizer_state'],
  ) {}

  adapterOf(client: ClientId | null): NamedTensors {
    return (client === null ? undefined : this.kept.get(client)?.adapter) ?? this.start
  }

  codedOf(client: ClientId): TensorMap {
    return encodeTensors(this.adapterOf(client))
  }

  startRound(): void {
    this.replies.clear()
  }

  startOf(client: ClientId): Pick<MessageOf<'round-start'>, 'adapter' | 'moments' | 'keep_from'> {
    const kept = this.kept.get(client)
    return {
      adapter: this.codedOf(client),
      moments: kept?.moments ? encodeMoments(kept.moments) : null,
      keep_from: this.keptRound(client),
    }
  }

  keptRound(client: ClientId): number | null {
    return this.optimizerState === 'keep' ? (this.keptRounds.get(client) ?? null) : null
  }

  forgetKept(client: ClientId): void {
    this.keptRounds.delete(client)
  }

  take(client: ClientId, message: MessageOf<'adapter'>, _: Counts, mostUpdates: number): void {
    this.replies.set(client, readReply(message, this.start, mostUpdates, this.optimizerState))
  }

  endRound(round: number, clients: readonly ClientId[]): RoundOutcome {
    for (const client of clients) this.keptRounds.set(client, round)
    for (const client of clients)
      this.kept.set(client, { ...(this.replies.get(client) ?? unreachable(`the adapter of ${client} is gone`)), round })
    this.replies.clear()
    return { changed: clients, merged: [] }
  }

  save(): SavedClients {
    return { adapter: this.start, moments: null, strategy: null, keptRounds: new Map(this.keptRounds), own: new Map(this.kept) }
  }

  restore({ adapter, keptRounds, own }: SavedClients): void {
    this.start = adapter
    this.kept.clear()
    for (const [client, kept] of own) this.kept.set(client, kept)
    this.keptRounds.clear()
    for (const [client, round] of keptRounds) this.keptRounds.set(client, round)
    this.replies.clear()
  }
}
