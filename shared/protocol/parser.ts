/**
 * @file The parser that both ends give to socket.io: one MessagePack value for each packet.
 *
 * Packets have the form of socket.io-msgpack-parser 3, `{type, nsp, data, id}` without attachments, but for the two events that every message costs:
 * those are lists. What opens a connection is never one of them, so ends of different versions can tell each other so. Stricter than that parser in
 * what it reads: a packet that socket.io would stumble over ends in an error here, and socket.io then closes that connection and no other.
 */
import { UserError } from '../errors.js'
import { pack, unpack } from './msgpack.js'

/** Packet types of the socket.io protocol, version 5. */
export const PacketType = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4 } as const

export interface Packet {
  readonly type: number
  /** Namespace; ours is `/`. */
  readonly nsp: string
  /** CONNECT: the auth object; EVENT: name and arguments; ACK: arguments; CONNECT_ERROR: the reason. */
  readonly data?: unknown
  /** Asks for, or is, an acknowledgement. */
  readonly id?: number
}

/** Names that socket.io emits itself; a stranger who sent one could make a server believe that a client left. */
const RESERVED_EVENTS = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'error', 'newListener', 'removeListener'])

/** Events whose packet is a list: the event's place here, and its arguments. */
const LISTED_EVENTS: readonly unknown[] = ['chunk', 'ack']

export function encodePacket(packet: Packet): Uint8Array {
  // A new object: socket.io hangs options of its own on a packet, which are nothing for the wire.
  const { type, nsp, data, id } = packet
  const place = type === PacketType.EVENT && nsp === '/' && id === undefined && Array.isArray(data) ? LISTED_EVENTS.indexOf(data[0]) : -1
  if (place >= 0) return pack([place, ...(data as unknown[]).slice(1)])
  return pack({ type, nsp, ...(data === undefined ? {} : { data }), ...(id === undefined ? {} : { id }) })
}

/** @throws UserError MESSAGE_INVALID unless the bytes are exactly one well-formed packet. */
export function decodePacket(received: unknown): Packet {
  if (!(received instanceof Uint8Array || received instanceof ArrayBuffer)) throw invalid('it is text, and packets are binary')
  const packet = unpack(received instanceof Uint8Array ? received : new Uint8Array(received))
  if (Array.isArray(packet)) return listedEvent(packet)
  if (!isObject(packet)) throw invalid('it is not a map')
  const { type, nsp } = packet
  // python-socketio writes nil where JavaScript leaves a key away.
  const data = packet.data ?? undefined
  const id = packet.id ?? undefined
  if (typeof type !== 'number' || !Number.isInteger(type) || type < PacketType.CONNECT || type > PacketType.CONNECT_ERROR) {
    throw invalid('its type is not one of 0 to 4')
  }
  if (typeof nsp !== 'string') throw invalid('its namespace is not a string')
  if (!isDataValid(type, data)) throw invalid(`its data does not fit type ${type}`)
  if (id !== undefined && !(Number.isSafeInteger(id) && (id as number) >= 0)) throw invalid('its id is not a whole number')
  return { type, nsp, ...(data === undefined ? {} : { data }), ...(id === undefined ? {} : { id: id as number }) }
}

function listedEvent([place, ...values]: readonly unknown[]): Packet {
  if (typeof place !== 'number' || !Object.hasOwn(LISTED_EVENTS, place)) throw invalid('it is none of the events that are lists')
  return { type: PacketType.EVENT, nsp: '/', data: [LISTED_EVENTS[place], ...values] }
}

function isDataValid(type: number, data: unknown): boolean {
  switch (type) {
    case PacketType.CONNECT:
      return data === undefined || isObject(data)
    case PacketType.DISCONNECT:
      return data === undefined
    case PacketType.EVENT:
      return Array.isArray(data) && typeof data[0] === 'string' && !RESERVED_EVENTS.has(data[0])
    case PacketType.ACK:
      return Array.isArray(data)
    default:
      return typeof data === 'string' || isObject(data)
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'a packet from the network is not one of socket.io',
    why,
    fix: 'connect with socket.io, protocol 5, over a WebSocket, with the msgpack parser',
  })
}

/** Half of the shape that socket.io wants of a parser. */
export class Encoder {
  encode(packet: Packet): Uint8Array[] {
    return [encodePacket(packet)]
  }
}

type DecodedListener = (packet: Packet) => void

/** The other half: an emitter of `decoded` with the little of EventEmitter that socket.io calls. */
export class Decoder {
  private listeners: DecodedListener[] = []

  /** @throws UserError MESSAGE_INVALID; socket.io catches it and closes the connection. */
  add(received: unknown): void {
    const packet = decodePacket(received)
    for (const listener of [...this.listeners]) listener(packet)
  }

  on(_event: 'decoded', listener: DecodedListener): this {
    this.listeners.push(listener)
    return this
  }

  off(_event: 'decoded', listener: DecodedListener): this {
    this.listeners = this.listeners.filter((other) => other !== listener)
    return this
  }

  removeListener(event: 'decoded', listener: DecodedListener): this {
    return this.off(event, listener)
  }

  /** Nothing is kept between packets. socket.io calls this on every clean-up and adds its listeners again after it. */
  destroy(): void {}
}
