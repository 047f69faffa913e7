/**
 * @file Messages as the bytes that links carry.
 */
import type { Side } from './frames.js'
import { ClientMessage, ServerMessage } from './messages.js'
import { pack, unpack } from './msgpack.js'
import { positional, type Positional } from './positional.js'

const LAYOUTS: Readonly<Record<Side, Positional<ClientMessage | ServerMessage>>> = {
  client: positional<ClientMessage | ServerMessage>(ClientMessage),
  server: positional<ClientMessage | ServerMessage>(ServerMessage),
}

/** @param from who sends it: the two ends send different messages. */
export function packMessage(message: ClientMessage | ServerMessage, from: Side): Uint8Array {
  const packed = pack(LAYOUTS[from].strip(message))
  // The packer writes one message behind the other into a buffer as large as the largest was: a few bytes that wait for a client that does not read would
  // keep an adapter's worth of memory.
  return 2 * packed.byteLength < packed.buffer.byteLength ? packed.slice() : packed
}

/**
 * The message, unchecked: its schema has yet to look at it.
 * @throws UserError MESSAGE_INVALID if the bytes are not of a message's form.
 */
export function unpackMessage(bytes: Uint8Array, from: Side): unknown {
  return LAYOUTS[from].restore(unpack(bytes))
}
