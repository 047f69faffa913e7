/**
 * @file What a link puts on its connection, below the messages: each frame is one socket.io event with one argument.
 *
 * A connection opens with `hello` from the client, answered by `attached` or `refused`. Then, in both directions: messages, packed and
 * numbered from 1, as `chunk` frames, each answered by one `ack`; `heartbeat`; and `closed` when an end is through with the link.
 * A client that lost its connection opens a new one with the same `session`, and both ends tell what they hold (`held`).
 */
import { z } from 'zod'
import { LinkLimits } from './limits.js'
import { Failure, Hello } from './messages.js'
import { encodePacket, PacketType } from './parser.js'
import { positional } from './positional.js'

/** A place in the stream of one direction: all messages before `message`, and `chunks` chunks of it. */
export const Held = z
  .object({
    message: z.int().positive().describe('number of a message; all before it are held'),
    chunks: z.int().nonnegative().describe('how many chunks of it are held'),
  })
  .describe('What an end holds of what the other sends.')
export type Held = z.infer<typeof Held>

export const Chunk = z
  .object({
    message: z.int().positive().describe('number of the message, from 1'),
    index: z.int().nonnegative().describe('number of the chunk, from 0'),
    count: z.int().positive().describe('chunks of the message'),
    total_bytes: z.int().positive().describe('packed bytes of the whole message'),
    crc32: z.int().nonnegative().describe('of `bytes`, as in zlib'),
    bytes: z.instanceof(Uint8Array).describe("the chunk's part of the packed message"),
  })
  .describe('A part of a message, or all of it.')
export type Chunk = z.infer<typeof Chunk>

export const Opening = z
  .object({
    session: z
      .string()
      .regex(/^[0-9a-f]{32}$/)
      .describe('drawn at random by the client for each link; whoever knows it and the token may go on with the link'),
    held: Held.describe('what the client holds; on a new link {message: 1, chunks: 0}'),
    hello: Hello,
  })
  .describe('Opens a link, or goes on with it.')
export type Opening = z.infer<typeof Opening>

export const Attached = z
  .object({ held: Held.describe('what the server holds'), limits: LinkLimits })
  .describe('The link is open: chunks go from here on.')
export type Attached = z.infer<typeof Attached>

export const RefusedOpening = z.object({ error: Failure }).describe('There is to be no link; the connection closes.')
export type RefusedOpening = z.infer<typeof RefusedOpening>

export const Closed = z
  .object({ reason: z.string().max(4096), error: Failure.nullable().describe('nil: its sender was just through') })
  .describe('Its sender is through with the link.')
export type Closed = z.infer<typeof Closed>

/** Every message costs a chunk and an ack at least: they travel without the names of their fields. */
export const ChunkFields = positional(Chunk)
export const AckFields = positional(Held)

export interface Frames {
  hello: Opening
  attached: Attached
  refused: RefusedOpening
  /** `ChunkFields` of a `Chunk`. */
  chunk: unknown
  /** `AckFields` of what its sender holds. */
  ack: unknown
  heartbeat: { type: 'heartbeat' }
  closed: Closed
}

/** What carries frames, in order, until it breaks without a word. */
export interface Wire {
  send<Name extends keyof Frames>(name: Name, body: Frames[Name]): void
  /** Gives the connection up; what was sent just before still goes out. */
  drop(): void
}

export type Side = 'client' | 'server'

/**
 * Bytes of the WebSocket frame that carries this event: header (RFC 6455, section 5.2), mask if a client sends it, MessagePack packet.
 * engine.io adds nothing to a binary packet.
 */
export function frameBytes<Name extends keyof Frames>(name: Name, body: Frames[Name], sender: Side): number {
  return webSocketBytes(packetBytes(name, body), sender)
}

/** The same for a chunk, without packing what it carries. */
export function chunkFrameBytes(chunk: Chunk, sender: Side): number {
  const length = chunk.bytes.length
  const emptyBinBytes = 2
  const binBytes = length + (length < 0x100 ? 2 : length < 0x10000 ? 3 : 5)
  const fields = ChunkFields.strip({ ...chunk, bytes: new Uint8Array(0) })
  return webSocketBytes(packetBytes('chunk', fields) - emptyBinBytes + binBytes, sender)
}

export function ackFrameBytes(held: Held, sender: Side): number {
  return frameBytes('ack', AckFields.strip(held), sender)
}

function packetBytes(name: string, body: unknown): number {
  return encodePacket({ type: PacketType.EVENT, nsp: '/', data: [name, body] }).length
}

function webSocketBytes(payloadBytes: number, sender: Side): number {
  const headerBytes = payloadBytes < 126 ? 2 : payloadBytes < 0x10000 ? 4 : 10
  const maskBytes = sender === 'client' ? 4 : 0
  return headerBytes + maskBytes + payloadBytes
}
