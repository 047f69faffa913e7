/**
 * @file What a message costs on the wire, without making the tensors in it. Pure.
 */
import { packedByteLength } from '../../shared/protocol/codec/index.js'
import { wireName } from '../../shared/protocol/codec/wire-name.js'
import { ackFrameBytes, chunkFrameBytes, type Side } from '../../shared/protocol/frames.js'
import type { ClientMessage, CodedTensor, ServerMessage } from '../../shared/protocol/messages.js'
import { packMessage } from '../../shared/protocol/packing.js'
import { trafficKind } from '../../shared/protocol/traffic.js'
import type { TrafficLine } from '../../shared/run-records.js'

/** One sort of traffic: as a line of traffic.jsonl, without whose and when. */
export type Traffic = Pick<TrafficLine, 'kind' | 'direction' | 'messages' | 'payload_bytes' | 'wire_bytes'>

/** Nearly all have its length. */
const CHECKSUM = 0xffffffff
const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0)

/** A byte array of a message that is only counted: its length stands in for it. */
export class Lengths {
  readonly all: number[] = []

  /** Notes a byte array of that length. @returns an empty one, for the message */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    this.all.push(length)
    return EMPTY
  }

  /** As `bytes`, of a tensor [rows, width] that a codec packs. */
  coded(codec: string, rows: number, width: number): CodedTensor {
    return { codec: wireName(codec), shape: [rows, width], bytes: this.bytes(packedByteLength(codec, [rows, width])) }
  }
}

/**
 * @param lengths of the message's byte arrays, which stand in it as empty ones.
 * @param maxChunkBytes longer messages travel in several chunks, each acknowledged.
 * @param number roughly, of the message among those of its link and direction: larger ones take more bytes.
 */
export function messageTraffic(
  message: ClientMessage | ServerMessage,
  from: Side,
  lengths: readonly number[],
  maxChunkBytes: number,
  number = 1,
): Traffic {
  const payload_bytes = lengths.reduce((sum, length) => sum + length, 0)
  const packedBytes = lengths.reduce(
    (sum, length) => sum + length + headerBytes(length) - headerBytes(0),
    packMessage(message, from).length,
  )
  return {
    kind: trafficKind(message),
    direction: from === 'client' ? 'up' : 'down',
    messages: 1,
    payload_bytes,
    wire_bytes: chunkedBytes(packedBytes, from, maxChunkBytes, number),
  }
}

/** Of MessagePack's bin 8, 16 and 32. */
function headerBytes(length: number): number {
  return length < 0x100 ? 2 : length < 0x10000 ? 3 : 5
}

function chunkedBytes(packedBytes: number, from: Side, maxChunkBytes: number, message: number): number {
  const count = Math.max(1, Math.ceil(packedBytes / maxChunkBytes))
  const last = packedBytes - (count - 1) * maxChunkBytes
  const ack = ackFrameBytes({ message, chunks: count }, from === 'client' ? 'server' : 'client')
  const frame = (bytes: number): number =>
    chunkFrameBytes({ message, index: count - 1, count, total_bytes: packedBytes, crc32: CHECKSUM, bytes: zeros(bytes) }, from) + ack
  return frame(last) + (count === 1 ? 0 : (count - 1) * frame(maxChunkBytes))
}

let zeroBytes = EMPTY

/** Only its length is looked at, so all share one. */
function zeros(length: number): Uint8Array<ArrayBuffer> {
  if (zeroBytes.length < length) zeroBytes = new Uint8Array(length)
  return zeroBytes.subarray(0, length)
}

/** Traffic by kind and direction, in the order of appearance; `factor` times each. */
export function sumTraffic(lines: Iterable<Traffic>, factor = 1): Traffic[] {
  const sums = new Map<string, Traffic>()
  for (const { kind, direction, ...counts } of lines) {
    const key = `${kind} ${direction}`
    const sum = sums.get(key) ?? { kind, direction, messages: 0, payload_bytes: 0, wire_bytes: 0 }
    const more = (name: keyof typeof counts): number => sum[name] + counts[name] * factor
    sums.set(key, { kind, direction, messages: more('messages'), payload_bytes: more('payload_bytes'), wire_bytes: more('wire_bytes') })
  }
  return [...sums.values()]
}
