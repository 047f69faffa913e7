/**
 * @file What crosses the wire, counted: the kind and payload of each message, and a ledger by client, round, direction and kind.
 *
 * `payload_bytes`: all byte arrays of the message (tensors, ids, masks). `wire_bytes`: the WebSocket frames that carry it, their headers
 * and masks, the envelope of each chunk, and the ack of each, which travels the other way and is booked on the message it answers. Not
 * counted: TCP and TLS, the upgrade request, engine.io's and socket.io's own packets (open, ping, pong, connect, disconnect), and the
 * frames `attached`, `heartbeat` and `closed`. `hello` is counted like a message.
 *
 * `fp32_bytes`: what the cut tensors in them are as fp32, 4 bytes for each channel of each real token. Of activations it counts those that the server
 * took in: what comes too late, or is asked for again because of what a codec remembers, is more payload and no more fp32. Nothing else has any.
 */
import { compareCodeUnits } from '../compare.js'
import { elements } from '../tensor.js'
import type { Traffic, TrafficKind } from './link.js'
import type { ClientMessage, ServerMessage } from './messages.js'

const F32_BYTES = 4

type AnyMessage = ClientMessage | ServerMessage

/** An evaluation's batches are not the training's: activations with `purpose: evaluate` count as evaluation. */
export function trafficKind(message: AnyMessage): TrafficKind {
  switch (message.type) {
    case 'activations':
      return message.purpose === 'evaluate' ? 'evaluation' : 'activations'
    case 'gradients':
      return 'gradients'
    case 'round-start':
    case 'adapter':
      return 'adapter'
    case 'model-request':
    case 'model-files':
    case 'file-request':
    case 'file-piece':
      return 'weights'
    case 'evaluate':
    case 'loss':
    case 'evaluation':
      return 'evaluation'
    default:
      return 'control'
  }
}

/** Sum of all byte arrays in the message. */
export function payloadBytes(value: unknown): number {
  if (value instanceof Uint8Array) return value.length
  if (typeof value !== 'object' || value === null) return 0
  let bytes = 0
  for (const part of Object.values(value)) bytes += payloadBytes(part)
  return bytes
}

/** What a tensor of that shape is as fp32. */
export function fp32Bytes(shape: readonly number[]): number {
  return F32_BYTES * elements(shape)
}

export interface TrafficPlace {
  readonly round: number
  readonly attempt: number
  readonly client: string
}

/** A line of traffic.jsonl. */
export interface TrafficLine extends TrafficPlace {
  readonly direction: 'up' | 'down'
  readonly kind: TrafficKind
  readonly messages: number
  readonly payload_bytes: number
  readonly wire_bytes: number
  readonly fp32_bytes: number
}

/** Which round a message belongs to; `current` for one that names none, such as `ready` or `finish`. */
export function placeOf(message: AnyMessage, client: string, current: { readonly round: number; readonly attempt: number }): TrafficPlace {
  const { round, attempt } = 'round' in message ? message : current
  return { round, attempt, client }
}

type Entry = { -readonly [Key in keyof TrafficLine]: TrafficLine[Key] }

export class TrafficLedger {
  private readonly entries = new Map<string, Entry>()

  add(place: TrafficPlace, { direction, kind, payloadBytes, wireBytes }: Traffic): void {
    const line = this.lineOf(place, direction, kind)
    line.messages++
    line.payload_bytes += payloadBytes
    line.wire_bytes += wireBytes
  }

  /** Takes back a line that `lines` gave to an earlier ledger. */
  restore(line: TrafficLine): void {
    this.entries.set(keyOf(line, line.direction, line.kind), { ...line })
  }

  /** Notes that a cut tensor has crossed, beside the message that carried it. */
  addTensor(place: TrafficPlace, direction: 'up' | 'down', kind: TrafficKind, shape: readonly number[]): void {
    this.lineOf(place, direction, kind).fp32_bytes += fp32Bytes(shape)
  }

  private lineOf(place: TrafficPlace, direction: 'up' | 'down', kind: TrafficKind): Entry {
    const { round, attempt, client } = place
    const key = keyOf(place, direction, kind)
    const known = this.entries.get(key)
    if (known) return known
    const line = { round, attempt, client, direction, kind, messages: 0, payload_bytes: 0, wire_bytes: 0, fp32_bytes: 0 }
    this.entries.set(key, line)
    return line
  }

  /** The lines of one round, of all its attempts, in an order that does not depend on who sent first. */
  lines(round: number): TrafficLine[] {
    return [...this.entries.values()]
      .filter((line) => line.round === round)
      .map((line) => ({ ...line }))
      .sort(
        (a, b) =>
          a.attempt - b.attempt ||
          compareCodeUnits(a.client, b.client) ||
          compareCodeUnits(a.direction, b.direction) ||
          compareCodeUnits(a.kind, b.kind),
      )
  }

  /** Wire bytes of one client in one round, all attempts and kinds. */
  wireBytes(round: number, client: string): { readonly up: number; readonly down: number } {
    const total = { up: 0, down: 0 }
    for (const line of this.entries.values()) if (line.round === round && line.client === client) total[line.direction] += line.wire_bytes
    return total
  }

  /** What one client's activations and gradients of one attempt at a round are as fp32. */
  cutFp32Bytes(place: TrafficPlace): { readonly up: number; readonly down: number } {
    const of = (direction: 'up' | 'down', kind: TrafficKind): number => this.entries.get(keyOf(place, direction, kind))?.fp32_bytes ?? 0
    return { up: of('up', 'activations'), down: of('down', 'gradients') }
  }

  /** Lets go of a round's lines once they are written. */
  forget(round: number): void {
    for (const [key, line] of this.entries) if (line.round === round) this.entries.delete(key)
  }
}

function keyOf({ round, attempt, client }: TrafficPlace, direction: 'up' | 'down', kind: TrafficKind): string {
  return JSON.stringify([round, attempt, client, direction, kind])
}
