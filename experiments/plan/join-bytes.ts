/**
 * @file What a client and the server say to each other when it joins, and when the run is over. Pure.
 */
import { helloOf } from '../../client/join.js'
import { clientConfigOf, type Config } from '../../shared/config/schema.js'
import { frameBytes } from '../../shared/protocol/frames.js'
import { PROTOCOL_VERSION, type ModelCard } from '../../shared/protocol/messages.js'
import { messageTraffic, type Traffic } from './wire.js'

/** SHA-256 as hexadecimal digits. */
const A_DIGEST = 'a'.repeat(64)
const A_SECRET = A_DIGEST
const A_TOKEN = 'a'.repeat(48)
const A_SESSION = '0'.repeat(32)

export interface JoinFacts {
  readonly config: Config
  readonly model: Omit<ModelCard, 'digest' | 'tensors'> & { readonly tensors: readonly string[] }
  readonly client: string
  readonly part: { readonly index: number; readonly count: number }
  readonly software: string
}

/** hello, welcome and ready, which count to round 0; digests and tokens are made up, and as long as real ones. */
export function joinTraffic({ config, model, client, part, software }: JoinFacts): Traffic[] {
  const shown = config.transport.kind === 'socket' ? { token: A_TOKEN, secret: A_SECRET } : { token: null }
  const hello = helloOf({ client, ...shown, part, ownData: false, engine: config.model.engine, software })
  const opening = { session: A_SESSION, held: { message: 1, chunks: 0 }, hello }
  const welcome = {
    type: 'welcome' as const,
    protocol: PROTOCOL_VERSION,
    run: `${config.output.run_name ?? 'run'}_abcdef`,
    config: clientConfigOf(config),
    model: { ...model, digest: A_DIGEST, tensors: Object.fromEntries(model.tensors.map((name) => [name, A_DIGEST])) },
    part,
    limits: {
      max_chunk_bytes: config.transport.max_chunk_bytes,
      max_message_bytes: config.transport.max_inflight_bytes,
      heartbeat_s: Math.min(5, config.federation.reconnect_s / 3),
    },
  }
  const { max_chunk_bytes } = config.transport
  return [
    { kind: 'control', direction: 'up', messages: 1, payload_bytes: 0, wire_bytes: frameBytes('hello', opening, 'client') },
    messageTraffic(welcome, 'server', [], max_chunk_bytes),
    messageTraffic({ type: 'ready', examples: 200, tokens: 20_000, eval_examples: 20, kept: [] }, 'client', [], max_chunk_bytes),
  ]
}

/** The farewell, which counts to the last round. */
export function finishTraffic({ transport }: Config): Traffic[] {
  return [messageTraffic({ type: 'finish', reason: 'the run has finished', complete: true }, 'server', [], transport.max_chunk_bytes)]
}
