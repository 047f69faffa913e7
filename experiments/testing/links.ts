/**
 * @file Ways to join clients to a server in one process: memory, real sockets, and memory that dawdles.
 */
import { connect } from '../../client/socket.js'
import { listen } from '../../server/socket.js'
import type { ClientLink, ServerLink } from '../../shared/protocol/link.js'
import { memoryLinkPair } from '../../shared/protocol/memory-link.js'
import type { ClientMessage, MessageOf } from '../../shared/protocol/messages.js'
import { derive } from '../../shared/random.js'

/** Joins one client: the server's end is handed to `attach`, the client's returned. */
export type Connect = (hello: MessageOf<'hello'>, attach: (link: ServerLink) => void) => Promise<ClientLink>

export const overMemory: Connect = async (hello, attach) => {
  const pair = memoryLinkPair({ hello })
  attach(pair.server)
  return pair.client
}

/**
 * Real socket.io over loopback.
 * @param route the port that a client connects to, which leads to the given one.
 */
export async function overSockets(
  route: (client: string, port: number) => Promise<number> = async (_, port) => port,
): Promise<{ connect: Connect; close(): Promise<void> }> {
  const attachments = new Map<string, (link: ServerLink) => void>()
  const listening = await listen({ host: '127.0.0.1', port: 0, clients: 4, onLink: (link, { client }) => attachments.get(client)!(link) })
  return {
    async connect(hello, attach) {
      attachments.set(hello.client, attach)
      return connect({ url: `http://127.0.0.1:${await route(hello.client, listening.port)}`, hello: () => hello })
    },
    close: () => listening.close('the test is over'),
  }
}

const LONGEST_DELAY_TURNS = 40

/**
 * Memory links on which what a client sends takes a random number of the event loop's turns, from the seed; a link keeps its order.
 * @param onDelivered hears of each message as the server gets it.
 */
export function overSlowMemory(seed: number, onDelivered: (client: string, message: ClientMessage) => void): Connect {
  return async (hello, attach) => {
    const pair = memoryLinkPair({ hello })
    const random = derive(seed, 'delay', hello.client)
    let last = Promise.resolve()
    attach({
      ...pair.server,
      onMessage: (listener) =>
        pair.server.onMessage((message) => {
          const delay = random.below(LONGEST_DELAY_TURNS)
          last = last
            .then(() => turns(delay))
            .then(() => {
              onDelivered(hello.client, message)
              listener(message)
            })
        }),
    })
    return pair.client
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}
