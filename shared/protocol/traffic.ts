/**
 * @file What crosses the wire, counted: the kind and payload of each message, and a ledger by client, round, direction and kind.
 *
 * `payload_bytes`: all byte arrays of the message (tensors, ids, masks). `wire_bytes`: the WebSocket frames that carry it, their headers
 * and masks, the envelope of each chunk, and the ack of each, which travels the other way and is booked on the message it answers. Not
 * counted: TCP and TLS, the upgrade request, engine.io's and socket.io's own packets (open, ping, pong, connect, disconnect), and the
 * frames `attached`, `heartbeat` and `closed`. `hello` is counted like a message.
 */
import { compareCodeUnits } from '../compare.js'
import type { Traffic, TrafficKind } from './link.js'
import type { ClientMessage, ServerMessage } from './messages.js'

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
}

/** Which round a message belongs to; `current` for one that names none, such as `ready` or `finish`. */
export function placeOf(message: AnyMessage, client: string, current: { readonly round: number; readonly attempt: number }): TrafficPlace {
  const { round, attempt } = 'round' in message ? message : current
  return { round, attempt, client }
}

export class TrafficLedger {
  private readonly entries = new Map<string, TrafficLine>()

  add(place: TrafficPlace, traffic: Traffic): void {
    const { round, attempt, client } = place
    const { direction, kind } = traffic
    const key = JSON.stringify([round, attempt, client, direction, kind])
    const before = this.entries.get(key)
    this.entries.set(key, {
      round,
      attempt,
      client,
      direction,
      kind,
      messages: (before?.messages ?? 0) + 1,
      payload_bytes: (before?.payload_bytes ?? 0) + traffic.payloadBytes,
      wire_bytes: (before?.wire_bytes ?? 0) + traffic.wireBytes,
    })
  }

  /** The lines of one round, of all its attempts, in an order that does not depend on who sent first. */
  lines(round: number): TrafficLine[] {
    return [...this.entries.values()]
      .filter((line) => line.round === round)
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
    for (const line of this.lines(round)) if (line.client === client) total[line.direction] += line.wire_bytes
    return total
  }

  /** Lets go of a round's lines once they are written. */
  forget(round: number): void {
    for (const [key, line] of this.entries) if (line.round === round) this.entries.delete(key)
  }
}
