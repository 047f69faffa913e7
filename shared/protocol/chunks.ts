/**
 * @file Messages as numbered chunks: two state machines, one for each end of a direction, without sockets or time.
 *
 * The sender keeps each message until the other end holds all of it, with at most WINDOW_CHUNKS chunks under way; the receiver takes
 * chunks only in order and acknowledges each. After a broken connection the receiver's `held()` tells the sender where to go on.
 */
import { UserError } from '../errors.js'
import { crc32 } from './crc32.js'
import type { Chunk, Held } from './frames.js'
import { MIN_CHUNK_BYTES } from './limits.js'

export const WINDOW_CHUNKS = 8
/** What a waiting message costs beside its bytes, roughly: many small ones fill a memory too. */
const BOOKKEEPING_BYTES = 1024

export interface ChunkLimits {
  readonly maxChunkBytes: number
  readonly maxMessageBytes: number
}

interface Transfer {
  readonly message: number
  readonly packed: Uint8Array
  readonly count: number
  /** Chunks handed out, and how many of them the other end holds. */
  sent: number
  held: number
}

export class ChunkSender {
  /** Messages that the other end does not wholly hold, in order. */
  private transfers: Transfer[] = []
  private nextMessage = 1
  private chunksUnderWay = 0
  private bytesWaiting = 0

  constructor(private readonly limits: ChunkLimits) {}

  /** Packed bytes of all messages that the other end does not wholly hold, with something for the bookkeeping of each. */
  get waitingBytes(): number {
    return this.bytesWaiting
  }

  /**
   * Takes a packed message over; it must not change from now on.
   * @returns its number.
   * @throws UserError MESSAGE_TOO_LARGE; nothing is taken then.
   */
  add(packed: Uint8Array): number {
    if (packed.length > this.limits.maxMessageBytes) throw tooLarge(packed.length, this.limits.maxMessageBytes)
    const count = Math.max(1, Math.ceil(packed.length / this.limits.maxChunkBytes))
    this.transfers.push({ message: this.nextMessage, packed, count, sent: 0, held: 0 })
    this.bytesWaiting += costOf(packed)
    return this.nextMessage++
  }

  /** The next chunk that may go out, or null while the window is full or nothing is left. */
  next(): Chunk | null {
    if (this.chunksUnderWay >= WINDOW_CHUNKS) return null
    const transfer = this.transfers.find((candidate) => candidate.sent < candidate.count)
    if (!transfer) return null
    const index = transfer.sent++
    this.chunksUnderWay++
    const start = index * this.limits.maxChunkBytes
    const bytes = new Uint8Array(
      transfer.packed.buffer as ArrayBuffer,
      transfer.packed.byteOffset + start,
      Math.min(this.limits.maxChunkBytes, transfer.packed.length - start),
    )
    return { message: transfer.message, index, count: transfer.count, total_bytes: transfer.packed.length, crc32: crc32(bytes), bytes }
  }

  /**
   * The other end says what it holds, in answer to a chunk. What it said before it may say again.
   * @returns the messages that it now holds wholly, in order.
   * @throws UserError MESSAGE_INVALID if it claims what was never sent.
   */
  acknowledge(held: Held): number[] {
    this.checkClaim(held)
    const done: number[] = []
    for (const transfer of this.transfers) {
      if (transfer.message > held.message) break
      const chunks = transfer.message < held.message ? transfer.count : held.chunks
      const news = Math.max(0, chunks - transfer.held)
      transfer.held += news
      this.chunksUnderWay -= news
      if (transfer.held < transfer.count) continue
      done.push(transfer.message)
      this.bytesWaiting -= costOf(transfer.packed)
    }
    this.transfers = this.transfers.slice(done.length)
    return done
  }

  /** A new connection: like `acknowledge`, and all that is not held counts as never sent. */
  resume(held: Held): number[] {
    const done = this.acknowledge(held)
    for (const transfer of this.transfers) {
      transfer.sent = transfer.held
    }
    this.chunksUnderWay = 0
    return done
  }

  private checkClaim({ message, chunks }: Held): void {
    const unsent = this.transfers.find((transfer) => transfer.sent < transfer.count)
    const frontier: Held = { message: unsent?.message ?? this.nextMessage, chunks: unsent?.sent ?? 0 }
    if (message > frontier.message || (message === frontier.message && chunks > frontier.chunks)) {
      throw invalid(`it acknowledges chunk ${chunks} of message ${message}, and ${frontier.chunks} of ${frontier.message} are sent`)
    }
    const transfer = this.transfers.find((candidate) => candidate.message === message)
    if (transfer && chunks > transfer.count) throw invalid(`it acknowledges chunk ${chunks} of ${transfer.count} of message ${message}`)
  }
}

function costOf(packed: Uint8Array): number {
  return packed.length + BOOKKEEPING_BYTES
}

interface Assembly {
  readonly count: number
  readonly totalBytes: number
  readonly chunkBytes: number
  chunks: number
  filledBytes: number
  buffer: Uint8Array
}

/** What became of a chunk: what to answer, and the message if it was its last chunk. */
export interface Accepted {
  readonly ack: Held
  readonly message: Uint8Array | null
}

export class ChunkReceiver {
  private message = 1
  private assembly: Assembly | null = null

  constructor(private readonly limits: ChunkLimits) {}

  held(): Held {
    return { message: this.message, chunks: this.assembly?.chunks ?? 0 }
  }

  /**
   * Never allocates more than twice what has really arrived. A chunk that is already held is acknowledged again and dropped.
   * @throws UserError TRANSFER_CORRUPT if the checksum differs (what is held stays held), MESSAGE_TOO_LARGE if more is announced than
   *   allowed, MESSAGE_INVALID for a chunk out of order or one that does not fit those before it.
   */
  accept(chunk: Chunk): Accepted {
    const held = this.held()
    if (chunk.message < held.message || (chunk.message === held.message && chunk.index < held.chunks)) {
      return { ack: { message: chunk.message, chunks: chunk.index + 1 }, message: null }
    }
    if (chunk.message > held.message || chunk.index > held.chunks) {
      throw invalid(`chunk ${chunk.index} of message ${chunk.message} came, and ${held.chunks} of ${held.message} is next`)
    }
    const assembly = this.assembly ?? this.begin(chunk)
    const isLast = chunk.index === chunk.count - 1
    const expectedBytes = isLast ? assembly.totalBytes - assembly.filledBytes : assembly.chunkBytes
    if (chunk.count !== assembly.count || chunk.total_bytes !== assembly.totalBytes || chunk.bytes.length !== expectedBytes) {
      throw invalid(`chunk ${chunk.index} of message ${chunk.message} does not fit those before it`)
    }
    if (crc32(chunk.bytes) !== chunk.crc32) throw corrupt(chunk)

    const ack = { message: chunk.message, chunks: chunk.index + 1 }
    if (assembly.count === 1) {
      this.message++
      return { ack, message: chunk.bytes }
    }
    this.assembly = assembly
    append(assembly, chunk.bytes)
    if (!isLast) return { ack, message: null }
    this.message++
    this.assembly = null
    return { ack, message: assembly.buffer.subarray(0, assembly.filledBytes) }
  }

  private begin(chunk: Chunk): Assembly {
    if (chunk.total_bytes > this.limits.maxMessageBytes) throw tooLarge(chunk.total_bytes, this.limits.maxMessageBytes)
    const chunkBytes = chunk.bytes.length
    if (chunkBytes > this.limits.maxChunkBytes || chunkBytes > chunk.total_bytes) throw invalid(`a chunk has ${chunkBytes} bytes`)
    if (chunk.count > 1 && chunkBytes < MIN_CHUNK_BYTES)
      throw invalid(`a chunk has ${chunkBytes} bytes, and the least is ${MIN_CHUNK_BYTES}`)
    if (chunkBytes === 0 || chunk.count !== Math.ceil(chunk.total_bytes / chunkBytes)) {
      throw invalid(`${chunk.count} chunks of ${chunkBytes} bytes do not make ${chunk.total_bytes}`)
    }
    return { count: chunk.count, totalBytes: chunk.total_bytes, chunkBytes, chunks: 0, filledBytes: 0, buffer: new Uint8Array(0) }
  }
}

/** Copies: the chunk is a view of a network buffer that may be much larger. */
function append(assembly: Assembly, bytes: Uint8Array): void {
  const neededBytes = assembly.filledBytes + bytes.length
  if (neededBytes > assembly.buffer.length) {
    const grown = new Uint8Array(Math.min(assembly.totalBytes, neededBytes * 2))
    grown.set(assembly.buffer.subarray(0, assembly.filledBytes))
    assembly.buffer = grown
  }
  assembly.buffer.set(bytes, assembly.filledBytes)
  assembly.filledBytes = neededBytes
  assembly.chunks++
}

function tooLarge(bytes: number, limit: number): UserError {
  return new UserError({
    code: 'MESSAGE_TOO_LARGE',
    what: `a message of ${bytes} bytes is too large to send`,
    why: `one message may have ${limit} bytes`,
    fix: 'raise transport.max_inflight_bytes, or lower per_device_train_batch_size, max_length or the LoRA rank',
  })
}

function corrupt(chunk: Chunk): UserError {
  return new UserError({
    code: 'TRANSFER_CORRUPT',
    what: `chunk ${chunk.index + 1} of ${chunk.count} of a message arrived changed`,
    why: 'its checksum differs from the one it was sent with',
    fix: 'look for a proxy or network device that alters the traffic between client and server',
  })
}

function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the other end broke the rules of a transfer',
    why,
    fix: 'make sure that both ends run the same version of cutlayer',
  })
}
