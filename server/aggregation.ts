/**
 * @file The clients' half of the adapter over the rounds: gathers replies, weights them, and lets the strategy merge them.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import type { CodedMoments, MessageOf, TensorMap } from '../shared/protocol/messages.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { readAdapter, readMoments } from './inbox.js'
import type { ClientId, Member } from './round-state.js'
import type { AdapterReply, Strategy } from './strategy/strategy.js'

type Counts = NonNullable<Member['counts']>

interface Reply {
  readonly counts: Counts
  readonly adapter: Map<string, F32Tensor>
  readonly moments: OptimizerState | null
}

export class Aggregation {
  private current: Map<string, F32Tensor>
  /** `current` for messages: made once, however many clients it goes to. */
  private encoded: TensorMap | null = null
  /** `optimizer_state: average`: the mean of the clients' moments, which the next round starts from. */
  private moments: OptimizerState | null = null
  private encodedMoments: CodedMoments | null = null
  /** The last round of whose mean each client was part; where its kept moments are from. */
  private readonly keptRounds = new Map<ClientId, number>()
  /** Of this round. They outlive the connection: a client that has replied may leave. */
  private readonly replies = new Map<ClientId, Reply>()

  constructor(
    start: Map<string, F32Tensor>,
    private readonly strategy: Strategy,
    private readonly federation: Config['federation'],
  ) {
    this.current = start
  }

  /** As of the last merge. */
  get adapter(): NamedTensors {
    return this.current
  }

  /** The same as messages carry it. */
  get coded(): TensorMap {
    this.encoded ??= encodeTensors(this.current)
    return this.encoded
  }

  startRound(): void {
    this.replies.clear()
  }

  /** What a client's round starts from, as a `round-start` carries it. */
  startOf(client: ClientId): Pick<MessageOf<'round-start'>, 'adapter' | 'moments' | 'keep_from'> {
    return {
      adapter: this.coded,
      moments: this.codedMoments(),
      keep_from: this.federation.optimizer_state === 'keep' ? (this.keptRounds.get(client) ?? null) : null,
    }
  }

  /**
   * Takes in a client's adapter.
   * @param mostUpdates that its optimizer can have made by now.
   * @throws UserError MESSAGE_INVALID
   */
  take(client: ClientId, message: MessageOf<'adapter'>, counts: Counts, mostUpdates: number): void {
    // Moments that nobody averages are the client's own business.
    const moments = this.federation.optimizer_state === 'average' ? message.moments : null
    this.replies.set(client, {
      counts,
      adapter: readAdapter(message.adapter, this.current),
      moments: moments && readMoments(moments, this.current, mostUpdates),
    })
  }

  private codedMoments(): CodedMoments | null {
    this.encodedMoments ??= this.moments && encodeMoments(this.moments)
    return this.encodedMoments
  }

  /** @returns the replies that were merged, weighted. @throws UserError what the strategy throws. */
  merge(round: number, clients: readonly ClientId[]): readonly AdapterReply[] {
    const replies = clients.map((client) => {
      const reply = this.replies.get(client) ?? unreachable(`the adapter of ${client} is gone`)
      return { client, ...reply }
    })
    const weights = weightsOf(
      replies.map(({ counts }) => counts),
      this.federation.weight_by,
    )
    const weighted = replies.map(({ client, adapter, moments }, i) => ({ client, weight: weights[i], adapter, moments }))
    const { adapter, moments } = this.strategy.merge(weighted)
    // In the order that the run started with, whatever the strategy's.
    this.current = new Map(
      [...this.current.keys()].map((name) => [name, adapter.get(name) ?? unreachable(`${name} was lost in the merge`)]),
    )
    this.encoded = this.encodedMoments = null
    this.moments = this.federation.optimizer_state === 'average' ? moments : null
    for (const client of clients) this.keptRounds.set(client, round)
    this.replies.clear()
    return weighted
  }
}

/** p_k of each reply: its share of the training rows, of the scored tokens in them, or of the replies. They sum to one. */
export function weightsOf(replies: readonly Pick<Counts, 'examples' | 'tokens'>[], weightBy: Config['federation']['weight_by']): number[] {
  const sizes = replies.map((counts) => (weightBy === 'uniform' ? 1 : counts[weightBy]))
  const total = sizes.reduce((a, b) => a + b, 0)
  return sizes.map((size) => size / total)
}

function encodeMoments({ updates, mean, square }: OptimizerState): CodedMoments {
  return { updates, mean: encodeTensors(mean), square: encodeTensors(square) }
}
