/**
 * @file How much of its clients' activations the server takes on at a time: at most `transport.max_inflight_bytes`, whatever their number.
 *
 * Where the largest micro-batches of all who take part fit, nobody is kept waiting. Else a client offers each micro-batch, and sends it once it has the
 * server's grant; from then on until it is computed it counts. Without sockets or engine: grants go out by a callback.
 *
 * Nobody waits for ever. Whom the top computes as it comes makes room by itself. Who is ahead of the others (a step further, or later in the order) only
 * gets room beside which the largest micro-batch there can be still fits: the one that the top waits for always finds its place.
 */
import type { Config } from '../shared/config/schema.js'
import type { Architecture } from '../shared/model/families/family.js'
import type { Activations } from '../shared/protocol/messages.js'
import { invalid } from './invalid.js'
import type { Turn } from './round-queries.js'
import type { ClientId } from './round-state.js'
import { requestKey } from './roster.js'

/** What goes with each token beside its activations, as i32: where it stands in its row, and what it is to predict. */
const BYTES_BESIDE = 16

export type OfferedBatch = Pick<Activations, 'purpose' | 'round' | 'attempt' | 'step' | 'micro'>

export interface InflightLimits {
  readonly limitBytes: number
  /** Of a token as the server holds it once it is unpacked, when it takes most. */
  readonly bytesPerToken: number
  /** Of the largest micro-batch. */
  readonly mostTokens: number
}

export interface InflightOptions extends InflightLimits {
  /** How soon each client's next micro-batch would meet the top, as things are. */
  turns(): (client: ClientId) => Turn
  /** The client may send what it offered. */
  grant(client: ClientId, batch: OfferedBatch): void
}

interface Entry {
  readonly client: ClientId
  readonly batch: OfferedBatch
  readonly tokens: number
  readonly bytes: number
  /** The engine has it: it is forgotten when that is through. */
  isComputing: boolean
}

export function inflightLimits({ transport, train, data }: Config, { hiddenSize, maxPositions }: Architecture): InflightLimits {
  return {
    limitBytes: transport.max_inflight_bytes,
    bytesPerToken: Float32Array.BYTES_PER_ELEMENT * hiddenSize + BYTES_BESIDE,
    mostTokens: train.per_device_train_batch_size * Math.min(data.max_length, maxPositions),
  }
}

/** Whether so many clients have to offer their micro-batches. One alone never has more than one under way. */
export function isRationed({ limitBytes, bytesPerToken, mostTokens }: InflightLimits, clients: number): boolean {
  return clients > 1 && clients * mostTokens * bytesPerToken > limitBytes
}

export class Inflight {
  /** Granted, by client and request. */
  private readonly held = new Map<string, Entry>()
  /** Offered, the longest waiting first. */
  private readonly waiting = new Map<string, Entry>()
  private isAsked = false
  private bytes = 0

  constructor(private readonly options: InflightOptions) {}

  /** Of all that was granted and is not computed: never more than the limit, or one micro-batch where that alone is more. */
  get heldBytes(): number {
    return this.bytes
  }

  /**
   * A round's training, or an evaluation, begins with so many clients; what was before it is over.
   * @returns whether they are to offer what they send.
   */
  begin(clients: number): boolean {
    this.drop(() => true)
    this.isAsked = isRationed(this.options, clients)
    return this.isAsked
  }

  /** Whether clients are to offer what they send. */
  get asksFirst(): boolean {
    return this.isAsked
  }

  /**
   * A client has a micro-batch of that many tokens, which is awaited. A repeat is granted again.
   * @throws UserError MESSAGE_INVALID if it is larger than there can be.
   */
  offer(client: ClientId, batch: OfferedBatch, tokens: number): void {
    const { bytesPerToken, mostTokens } = this.options
    if (tokens > mostTokens) throw invalid(`a batch of ${tokens} tokens, of at most ${mostTokens}`)
    const key = keyOf(client, batch)
    if (this.held.has(key)) return this.options.grant(client, batch)
    this.waiting.set(key, { client, batch, tokens, bytes: tokens * bytesPerToken, isComputing: false })
    this.grantWhatFits()
  }

  /** Activations came. @throws UserError MESSAGE_INVALID if they were not granted, and had to be. */
  check(client: ClientId, batch: OfferedBatch, tokens: number): void {
    if (!this.isAsked) return
    const granted = this.held.get(keyOf(client, batch))?.tokens ?? 0
    if (tokens > granted) throw invalid(`activations of ${tokens} tokens, of ${granted} that were granted`)
  }

  /** The engine has been given a micro-batch; `release` follows, whatever becomes of its step. */
  computing(client: ClientId, batch: OfferedBatch): void {
    const entry = this.held.get(keyOf(client, batch))
    if (entry) entry.isComputing = true
  }

  /** The engine is through with it. */
  release(client: ClientId, batch: OfferedBatch): void {
    this.letGo(keyOf(client, batch))
    this.grantWhatFits()
  }

  /** A client is out, or has given up a step. Its room goes to others with the next `grantWhatFits`: they may have to give up theirs, too. */
  forget(client: ClientId, step: number | null = null): void {
    this.drop((entry) => entry.client === client && (step === null || (entry.batch.step === step && entry.batch.purpose === 'train')))
  }

  /** To be called after whatever may have changed whose turn it is. */
  grantWhatFits(): void {
    for (let next = this.next(); next; next = this.next()) {
      const key = keyOf(next.client, next.batch)
      this.waiting.delete(key)
      this.held.set(key, next)
      this.bytes += next.bytes
      this.options.grant(next.client, next.batch)
    }
  }

  /** Who may send now. Within a turn the longest waiting is first, and nobody behind takes the room that it waits for. */
  private next(): Entry | null {
    if (this.waiting.size === 0) return null
    const { limitBytes, bytesPerToken, mostTokens } = this.options
    const turnOf = this.options.turns()
    // Of those who would take the turn by coming first, the top waits for the one that may already come.
    const isOpen = ![...this.held.values()].some(({ client }) => turnOf(client) === 'open')
    const isNext = ({ client }: Entry): boolean => {
      const turn = turnOf(client)
      return turn === 'now' || (turn === 'open' && isOpen)
    }
    let first: Entry | null = null
    for (const entry of this.waiting.values()) {
      if (isNext(entry)) return this.held.size === 0 || this.bytes + entry.bytes <= limitBytes ? entry : null
      first ??= entry
    }
    return first && this.bytes + first.bytes + mostTokens * bytesPerToken <= limitBytes ? first : null
  }

  private drop(isOver: (entry: Entry) => boolean): void {
    for (const [key, entry] of this.waiting) if (isOver(entry)) this.waiting.delete(key)
    for (const [key, entry] of this.held) if (!entry.isComputing && isOver(entry)) this.letGo(key)
  }

  private letGo(key: string): void {
    this.bytes -= this.held.get(key)?.bytes ?? 0
    this.held.delete(key)
  }
}

function keyOf(client: ClientId, batch: OfferedBatch): string {
  return `${client} ${requestKey(batch)}`
}
