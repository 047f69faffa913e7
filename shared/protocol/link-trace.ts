/**
 * @file Messages on links, as a trace shows them: what is sent until the other end holds it, and when what arrives was whole.
 */
import type { Trace, EndSpan } from '../trace.js'
import type { Traffic } from './link.js'
import type { ClientMessage, ServerMessage } from './messages.js'

type AnyMessage = ClientMessage | ServerMessage

/** Of one end's links. */
export class LinkTrace {
  /** Of the messages that are under way. */
  private readonly sending = new Map<AnyMessage, EndSpan>()

  constructor(private readonly trace: Trace) {}

  /** @param delivery resolves when the other end holds the message. @returns the same */
  sent(track: string, message: AnyMessage, delivery: Promise<void>): Promise<void> {
    if (!this.trace.isOn) return delivery
    this.sending.set(message, this.trace.begin(track, `send ${message.type}`))
    return delivery.finally(() => this.end(message, { delivered: false }))
  }

  /** What a message cost, as a link tells it: of a sent one before its delivery resolves. */
  booked(track: string, message: AnyMessage, { kind, payloadBytes, wireBytes }: Traffic): void {
    const facts = { kind, payload_bytes: payloadBytes, wire_bytes: wireBytes }
    if (this.trace.isOn && !this.end(message, facts)) this.trace.mark(track, `receive ${message.type}`, facts)
  }

  private end(message: AnyMessage, facts: Parameters<EndSpan>[0]): boolean {
    this.sending.get(message)?.(facts)
    return this.sending.delete(message)
  }
}
