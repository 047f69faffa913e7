/**
 * @file Which codecs each client is told, round by round: those that the config names, or what its link asks for (`auto`).
 */
import type { Config } from '../shared/config/schema.js'
import {
  choiceOfLate,
  choose,
  firstChoice,
  readingOf,
  type AutoChoice,
  type RoundMeasurement,
  type Transfers,
} from '../shared/protocol/codec/auto.js'
import { AUTO, firstCodecs, settingOf, type CutCodecNames, type Direction } from '../shared/protocol/codec/setting.js'
import type { MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { payloadBytes } from '../shared/protocol/traffic.js'
import type { CodecUse, RoundClient } from '../shared/run-records.js'
import type { ClientCuts } from './client-cuts.js'
import type { Clock } from './observer.js'
import type { ClientId } from './round-state.js'

export type CodecUses = NonNullable<RoundClient['codecs']>

interface Known {
  /** Of its last round, or its first to come. */
  readonly names: CutCodecNames
  /** The round that it began and has not finished; 0: none. */
  readonly begun: number
  readonly measured: RoundMeasurement | null
  /** Of the gradients of the round that it began last. */
  readonly download: Transfers
}

const NOTHING: Transfers = { messages: 0, bytes: 0, seconds: 0 }

export class ClientCodecs {
  private readonly clients = new Map<ClientId, Known>()

  constructor(
    private readonly transport: Config['transport'],
    private readonly cuts: ClientCuts,
    private readonly clock: Clock,
  ) {}

  /** For an evaluation: as in the client's last round. */
  forEvaluation(client: ClientId): CutCodecNames {
    const { names } = this.of(client)
    this.cuts.use(client, names)
    return names
  }

  /** For a round that begins. @returns what each is and why, and whether one is not what it was */
  startRound(client: ClientId, round: number): { readonly names: CutCodecNames; readonly uses: CodecUses; readonly isChanged: boolean } {
    const before = this.of(client)
    const uses = { activations: this.use(client, 'activations'), gradients: this.use(client, 'gradients') }
    const names = { activations: uses.activations.codec, gradients: uses.gradients.codec }
    const isChanged = names.activations !== before.names.activations || names.gradients !== before.names.gradients
    this.clients.set(client, { ...before, names, begun: round, download: NOTHING })
    this.cuts.use(client, names)
    return { names, uses, isChanged }
  }

  /** A message goes out. @returns is to be called when the client is known to hold it */
  sending(client: ClientId, message: ServerMessage): () => void {
    if (message.type !== 'gradients') return () => {}
    const sentAt = this.clock.now()
    return () => {
      const known = this.of(client)
      if (known.begun !== message.round) return
      const { messages, bytes, seconds } = known.download
      const download = {
        messages: messages + 1,
        bytes: bytes + payloadBytes(message),
        seconds: seconds + (this.clock.now() - sentAt) / 1000,
      }
      this.clients.set(client, { ...known, download })
    }
  }

  /** The client is through with its round. @param fp32Bytes what its tensors of the round are as fp32 */
  finished(client: ClientId, message: MessageOf<'adapter'>, fp32Bytes: { readonly up: number; readonly down: number }): void {
    const { round, steps, upload, round_trip_s, seconds } = message
    const known = this.of(client)
    const measured: RoundMeasurement = {
      round,
      steps,
      upload,
      download: known.download,
      roundTripSeconds: round_trip_s,
      computeSeconds: seconds.compute,
      waitSeconds: seconds.wait,
      fp32Bytes: { activations: fp32Bytes.up, gradients: fp32Bytes.down },
    }
    // Of a round without a step there is nothing to tell.
    this.clients.set(client, { ...known, begun: 0, measured: steps > 0 ? measured : known.measured })
  }

  /** The client is gone: its next process may be elsewhere. */
  forget(client: ClientId): void {
    this.clients.delete(client)
    this.cuts.forget(client)
  }

  private of(client: ClientId): Known {
    return this.clients.get(client) ?? { names: firstCodecs(this.transport, client), begun: 0, measured: null, download: NOTHING }
  }

  private use(client: ClientId, direction: Direction): CodecUse {
    const { activation_codec, gradient_codec } = this.transport
    const name = settingOf(direction === 'activations' ? activation_codec : gradient_codec, client)
    return name === AUTO ? useOf(this.choiceFor(client, direction)) : { codec: name }
  }

  private choiceFor(client: ClientId, direction: Direction): AutoChoice {
    const { begun, measured } = this.of(client)
    const budget = this.transport.codec_loss_budget
    if (begun > 0) return choiceOfLate(direction, budget, begun)
    return measured ? choose(direction, budget, readingOf(measured, direction)) : firstChoice(direction)
  }
}

function useOf({ codec, reason, reading, transferSeconds }: AutoChoice): CodecUse {
  return {
    codec,
    auto: {
      reason,
      measured_round: reading?.round ?? null,
      bytes_per_s: reading?.bytesPerSecond ?? null,
      step_s: reading?.stepSeconds ?? null,
      transfer_s: transferSeconds,
    },
  }
}
