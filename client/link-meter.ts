/**
 * @file What a client's own messages tell of its uplink.
 */
import type { ClientMessage } from '../shared/protocol/messages.js'
import type { Transfers } from '../shared/protocol/codec/auto.js'
import { payloadBytes } from '../shared/protocol/traffic.js'

export class LinkMeter {
  private sent: Transfers = { messages: 0, bytes: 0, seconds: 0 }
  private shortest = Infinity

  /** Activations of training since the round began. */
  get upload(): Transfers {
    return this.sent
  }

  /** The shortest time that a message without a tensor took, of all so far; 0: there was none. */
  get roundTripSeconds(): number {
    return this.shortest === Infinity ? 0 : this.shortest
  }

  startRound(): void {
    this.sent = { messages: 0, bytes: 0, seconds: 0 }
  }

  /** @param seconds until the server was known to hold it */
  delivered(message: ClientMessage, seconds: number): void {
    const bytes = payloadBytes(message)
    if (bytes === 0) this.shortest = Math.min(this.shortest, seconds)
    if (message.type !== 'activations' || message.purpose !== 'train') return
    this.sent = { messages: this.sent.messages + 1, bytes: this.sent.bytes + bytes, seconds: this.sent.seconds + seconds }
  }
}
