/**
 * @file The clients' half of the adapter over the rounds: gathers replies, weights them, and lets the strategy merge them.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import type { CodedMoments, MessageOf, TensorMap } from '../shared/protocol/messages.js'
import { derive } from '../shared/random.js'
import type { NamedTensors } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { encodeMoments, readReply, type ClientAdapters, type Counts, type Reply, type RoundOutcome } from './client-adapters.js'
import type { ClientId } from './round-state.js'
import type { SavedClients } from './saved-state.js'
import { averagedMoments } from './strategy/fedavg.js'
import { weightedMean } from './strategy/mean.js'
import type { AdapterReply, Strategy } from './strategy/strategy.js'

interface CountedReply extends Reply {
  readonly counts: Counts
}

export class Aggregation implements ClientAdapters {
  private current: NamedTensors
  /** `current` for messages: made once, however many clients it goes to. */
  private encoded: TensorMap | null = null
  /** `optimizer_state: average`: the mean of the clients' moments, which the next round starts from. */
  private moments: OptimizerState | null = null
  private encodedMoments: CodedMoments | null = null
  /** What the strategy keeps for itself from round to round. */
  private strategyState: NamedTensors | null = null
  /** The last round of whose mean each client was part; where its kept moments are from. */
  private readonly keptRounds = new Map<ClientId, number>()
  /** Of this round. They outlive the connection: a client that has replied may leave. */
  private readonly replies = new Map<ClientId, CountedReply>()

  constructor(
    start: NamedTensors,
    private readonly strategy: Strategy,
    private readonly federation: Config['federation'],
    /** Of what the strategy draws by chance. */
    private readonly seed: number,
  ) {
    this.current = start
  }

  adapterOf(): NamedTensors {
    return this.current
  }

  codedOf(): TensorMap {
    this.encoded ??= encodeTensors(this.current)
    return this.encoded
  }

  startRound(): void {
    this.replies.clear()
  }

  startOf(client: ClientId): Pick<MessageOf<'round-start'>, 'adapter' | 'moments' | 'keep_from'> {
    return {
      adapter: this.codedOf(),
      moments: this.codedMoments(),
      keep_from: this.keptRound(client),
    }
  }

  keptRound(client: ClientId): number | null {
    return this.federation.optimizer_state === 'keep' ? (this.keptRounds.get(client) ?? null) : null
  }

  forgetKept(client: ClientId): void {
    this.keptRounds.delete(client)
  }

  take(client: ClientId, message: MessageOf<'adapter'>, counts: Counts, mostUpdates: number): void {
    this.replies.set(client, { counts, ...readReply(message, this.current, mostUpdates, this.federation.optimizer_state) })
  }

  private codedMoments(): CodedMoments | null {
    this.encodedMoments ??= this.moments && encodeMoments(this.moments)
    return this.encodedMoments
  }

  endRound(round: number, clients: readonly ClientId[]): RoundOutcome {
    const replies = clients.map((client) => {
      const reply = this.replies.get(client) ?? unreachable(`the adapter of ${client} is gone`)
      return { client, ...reply }
    })
    const weights = weightsOf(
      replies.map(({ counts }) => counts),
      this.federation.weight_by,
    )
    const weighted = replies.map(({ client, counts: { examples, tokens }, adapter, moments }, i): AdapterReply => {
      return { client, weight: weights[i], examples, tokens, adapter, moments }
    })
    const { adapter, moments, state } = this.strategy.aggregate(weighted, {
      round,
      adapter: this.current,
      state: this.strategyState,
      random: derive(this.seed, 'aggregate', round),
      average: () => weightedMean(weighted.map(({ client, weight, adapter: tensors }) => ({ client, weight, tensors }))),
    })
    // In the order that the run started with, whatever the strategy's.
    this.current = new Map([...this.current.keys()].map((name) => [name, adapter.get(name) ?? unreachable(`the strategy lost ${name}`)]))
    this.encoded = this.encodedMoments = null
    this.moments = this.federation.optimizer_state !== 'average' ? null : moments === undefined ? averagedMoments(weighted) : moments
    this.strategyState = state ?? null
    for (const client of clients) this.keptRounds.set(client, round)
    this.replies.clear()
    return { changed: [null], merged: weighted }
  }

  save(): SavedClients {
    const { current, moments, strategyState, keptRounds } = this
    return { adapter: current, moments, strategy: strategyState, keptRounds: new Map(keptRounds), own: new Map() }
  }

  restore({ adapter, moments, strategy, keptRounds }: SavedClients): void {
    this.current = adapter
    this.moments = moments
    this.strategyState = strategy
    this.encoded = this.encodedMoments = null
    this.keptRounds.clear()
    for (const [client, round] of keptRounds) this.keptRounds.set(client, round)
    this.replies.clear()
  }
}

/** p_k of each reply: its share of the training rows, of the scored tokens in them, or of the replies. They sum to one. */
export function weightsOf(replies: readonly Pick<Counts, 'examples' | 'tokens'>[], weightBy: Config['federation']['weight_by']): number[] {
  const sizes = replies.map((counts) => (weightBy === 'uniform' ? 1 : counts[weightBy]))
  const total = sizes.reduce((a, b) => a + b, 0)
  return sizes.map((size) => size / total)
}
