/**
 * @file A link inside one process: two sessions joined by a queue instead of a connection.
 *
 * Every message is packed, cut in chunks, acknowledged, checked against its schema and counted as over sockets, so a run over memory
 * gives the same numbers and the same traffic, bit for bit.
 */
import type { Attached, Frames, Opening, Wire } from './frames.js'
import { DEFAULT_LIMITS, type LinkLimits } from './limits.js'
import type { ClientLink, Link, ServerLink } from './link.js'
import { ClientMessage, ServerMessage, type MessageOf } from './messages.js'
import { Session } from './session.js'

export interface MemoryLinkOptions {
  /** Sent first, as a connecting client does. */
  readonly hello: MessageOf<'hello'>
  readonly limits?: LinkLimits
}

/** Messages that are kept from their receiver. */
export interface HeldBack {
  /** Resolves when the first message has been caught. */
  readonly caught: Promise<void>
  /** Delivers what was caught, in order, behind all that was delivered meanwhile, and catches no more. */
  release(): void
}

export interface MemoryLinkPair {
  readonly client: ClientLink
  readonly server: ServerLink
  /**
   * For tests: what the predicate says yes to arrives (and counts as sent) but is not delivered until it is released; later messages
   * overtake it. Set the receiver's listener before.
   */
  hold(predicate: (message: ClientMessage | ServerMessage) => boolean): HeldBack
}

/** Both ends of a new link. Its `hello` is the first message that the server's end delivers. */
export function memoryLinkPair(options: MemoryLinkOptions): MemoryLinkPair {
  const limits = options.limits ?? DEFAULT_LIMITS
  const client = new Session<ClientMessage, ServerMessage>({ side: 'client', schema: ServerMessage, limits })
  const server = new Session<ServerMessage, ClientMessage>({ side: 'server', schema: ClientMessage, limits })
  const holds = new Set<Hold>()

  // The size of a session's name counts, not its value: a memory link has no second connection to recognise.
  const opening: Opening = { session: '0'.repeat(32), held: client.held(), hello: options.hello }
  const attached: Attached = { held: server.held(), limits }
  server.greet(opening)
  client.greet(opening)
  server.attach(wireTo(client), opening.held)
  client.attach(wireTo(server), attached.held)

  return {
    client: withHolds<ClientMessage, ServerMessage>(client, holds),
    server: withHolds<ServerMessage, ClientMessage>(server, holds),
    hold(predicate) {
      const hold = new Hold(predicate, () => holds.delete(hold))
      holds.add(hold)
      return hold
    },
  }
}

/** A turn of the event loop later, as a socket would: timers and input get their turn between two messages. */
const later: (task: () => void) => void = typeof setImmediate === 'function' ? setImmediate : (task) => setTimeout(task, 0)

function wireTo(receiver: { receive(name: string, body: unknown): void }): Wire {
  return {
    send<Name extends keyof Frames>(name: Name, body: Frames[Name]) {
      later(() => receiver.receive(name, body))
    },
    drop() {},
  }
}

class Hold implements HeldBack {
  readonly caught: Promise<void>
  private readonly deliveries: (() => void)[] = []
  private readonly announce: () => void

  constructor(
    private readonly predicate: (message: ClientMessage | ServerMessage) => boolean,
    private readonly remove: () => void,
  ) {
    let announce = (): void => {}
    this.caught = new Promise((resolve) => (announce = resolve))
    this.announce = announce
  }

  /** @returns whether the message is kept back. */
  offer(message: ClientMessage | ServerMessage, deliver: () => void): boolean {
    if (!this.predicate(message)) return false
    this.deliveries.push(deliver)
    this.announce()
    return true
  }

  release(): void {
    this.remove()
    for (const deliver of this.deliveries.splice(0)) later(deliver)
  }
}

function withHolds<Outgoing, Incoming extends ClientMessage | ServerMessage>(
  link: Link<Outgoing, Incoming>,
  holds: ReadonlySet<Hold>,
): Link<Outgoing, Incoming> {
  return {
    send: (message) => link.send(message),
    onMessage: (listener) =>
      link.onMessage((message) => {
        for (const hold of holds) if (hold.offer(message, () => listener(message))) return
        listener(message)
      }),
    onClose: (listener) => link.onClose(listener),
    onTraffic: (listener) => link.onTraffic(listener),
    close: (reason, error) => link.close(reason, error),
  }
}
