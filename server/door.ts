/**
 * @file Between the network and a run on this machine: what is handed to its server, and what its links promise.
 */
import type { Config } from '../shared/config/schema.js'
import type { LinkLimits } from '../shared/protocol/limits.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import type { HostedRun } from './host.js'

/** How what happens at the network reaches the run's server. */
export interface Door {
  attach(link: ServerLink): void
  screen(hello: MessageOf<'hello'>, isBack: boolean): void
  onConnection(client: string, link: ServerLink, state: 'lost' | 'back'): void
}

export function doorOf({ started: { server } }: HostedRun): Door {
  return {
    attach: (link) => server.attach(link),
    screen: (hello, isBack) => server.screen(hello, isBack),
    onConnection: (client, link, state) => server.connectionChanged(client, link, state),
  }
}

/** What links of this run promise. */
export function linkLimits({ transport, federation }: Config): LinkLimits {
  return {
    maxChunkBytes: transport.max_chunk_bytes,
    maxMessageBytes: transport.max_inflight_bytes,
    heartbeatSeconds: Math.min(5, federation.reconnect_s / 3),
    reconnectSeconds: federation.reconnect_s,
  }
}
