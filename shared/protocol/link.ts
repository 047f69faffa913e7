/**
 * @file One connection between a client and the edge server, whatever carries it: a socket or memory.
 */
import type { UserError } from '../errors.js'
import type { ClientMessage, ServerMessage } from './messages.js'

/**
 * An ordered, message-preserving connection.
 *
 * Incoming messages have passed their schema; an ill-formed one closes the link with MESSAGE_INVALID instead of arriving.
 * A listener that is set late gets what came before it.
 */
export interface Link<Outgoing, Incoming> {
  /**
   * Hands a message over; resolves when the other end holds all of it.
   * @throws UserError MESSAGE_TOO_LARGE before anything is sent, CONNECTION_LOST (or the error that closed it) if the link closes first.
   */
  send(message: Outgoing): Promise<void>
  onMessage(listener: (message: Incoming) => void): void
  /** Called once, whichever end closed it. After it nothing arrives. `error`: what went wrong, or null if an end just was through. */
  onClose(listener: (reason: string, error: UserError | null) => void): void
  /**
   * What each message cost, both directions: a sent one before its `send` resolves, a received one before it is delivered. All listeners are told,
   * and what comes before the first is kept for it.
   */
  onTraffic(listener: (traffic: Traffic, message: Outgoing | Incoming) => void): void
  /** At once: what the other end does not hold yet is given up, so await `send` first. `error` is handed to the other end. */
  close(reason: string, error?: UserError): Promise<void>
}

export type ClientLink = Link<ClientMessage, ServerMessage>
export type ServerLink = Link<ServerMessage, ClientMessage>

/** What one message cost, as the sender counts it. `payload` is its tensors, ids and masks; `wire` is the WebSocket frames. */
export interface Traffic {
  readonly direction: 'up' | 'down'
  readonly kind: TrafficKind
  readonly payloadBytes: number
  readonly wireBytes: number
}

export type TrafficKind = 'activations' | 'gradients' | 'adapter' | 'weights' | 'evaluation' | 'control'
