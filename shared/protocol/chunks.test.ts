import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { crc32 as zlibCrc32 } from 'node:zlib'
import { ChunkReceiver, ChunkSender, WINDOW_CHUNKS } from './chunks.js'
import { crc32 } from './crc32.js'
import type { Chunk } from './frames.js'
import { MIN_CHUNK_BYTES } from './limits.js'

const LIMITS = { maxChunkBytes: MIN_CHUNK_BYTES, maxMessageBytes: 64 * MIN_CHUNK_BYTES }
const ascii = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

function patterned(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, (_, index) => (index * 7 + seed * 13 + (index >> 8)) & 0xff)
}

/** Comparing strings is much faster than comparing arrays element by element. */
const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

describe('crc32', () => {
  test('gives the check value of the catalogue of CRC algorithms for "123456789"', () => {
    expect(crc32(ascii('123456789'))).toBe(0xcbf43926)
  })
  test.runIf(typeof zlibCrc32 === 'function')('equals zlib for any bytes at any offset', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(7), (bytes, offset) => {
        const view = bytes.subarray(Math.min(offset, bytes.length))
        expect(crc32(view)).toBe(zlibCrc32(view))
      }),
    )
  })
})

describe('a transfer', () => {
  test('arrives whole, in order and once, however often and wherever the connection breaks', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 20 * MIN_CHUNK_BYTES }), { minLength: 1, maxLength: 5 })
    // What happens next: a chunk arrives, an ack arrives, or the connection breaks and all under way is lost.
    const happenings = fc.infiniteStream(fc.constantFrom('chunk', 'chunk', 'chunk', 'ack', 'ack', 'break'))
    fc.assert(
      fc.property(sizes, happenings, (messageSizes, events) => {
        const sender = new ChunkSender(LIMITS)
        const receiver = new ChunkReceiver(LIMITS)
        const sent = messageSizes.map((size, index) => patterned(size, index))
        for (const packed of sent) sender.add(packed)
        const received: Uint8Array[] = []
        const done: number[] = []
        const chunks: Chunk[] = []
        const acks: ReturnType<ChunkReceiver['held']>[] = []
        const fill = (): void => {
          for (let chunk = sender.next(); chunk; chunk = sender.next()) chunks.push(chunk)
        }
        fill()
        let happened = 0
        let most = 0
        for (const event of events) {
          if (done.length === sent.length) break
          // Breaks must end some time, or nothing ever would.
          const next = happened++ > 500 && event === 'break' ? 'chunk' : event
          if (next === 'chunk' && chunks.length > 0) {
            const { ack, message } = receiver.accept(chunks.shift()!)
            acks.push(ack)
            if (message) received.push(message)
          } else if (next === 'ack' && acks.length > 0) {
            done.push(...sender.acknowledge(acks.shift()!))
          } else if (next === 'break') {
            chunks.length = 0
            acks.length = 0
            done.push(...sender.resume(receiver.held()))
          }
          fill()
          most = Math.max(most, chunks.length + acks.length)
        }
        expect(most).toBeLessThanOrEqual(WINDOW_CHUNKS)
        expect(received.map(latin1)).toEqual(sent.map(latin1))
        expect(done).toEqual(sent.map((_, index) => index + 1))
      }),
    )
  })

  test('goes on where it stopped: no held chunk is sent again', () => {
    const sender = new ChunkSender(LIMITS)
    const receiver = new ChunkReceiver(LIMITS)
    sender.add(patterned(5 * MIN_CHUNK_BYTES, 0))
    for (let index = 0; index < 3; index++) receiver.accept(sender.next()!)
    expect(receiver.held()).toEqual({ message: 1, chunks: 3 })
    sender.resume(receiver.held())
    expect(sender.next()!.index).toBe(3)
  })

  test('a chunk that comes twice is acknowledged again and delivered once', () => {
    const sender = new ChunkSender(LIMITS)
    const receiver = new ChunkReceiver(LIMITS)
    sender.add(ascii('one'))
    const chunk = sender.next()!
    expect(receiver.accept(chunk).message).toEqual(ascii('one'))
    expect(receiver.accept(chunk)).toEqual({ ack: { message: 1, chunks: 1 }, message: null })
  })

  test('more than the limit is refused before anything is sent', () => {
    const sender = new ChunkSender(LIMITS)
    expect(() => sender.add(new Uint8Array(LIMITS.maxMessageBytes + 1))).toThrow(expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }))
    expect(sender.next()).toBeNull()
    expect(sender.add(ascii('x'))).toBe(1)
  })

  test('any changed byte is found, and the chunk can be sent again', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const sender = new ChunkSender(LIMITS)
        const receiver = new ChunkReceiver(LIMITS)
        sender.add(patterned(2 * MIN_CHUNK_BYTES, 1))
        const chunk = sender.next()!
        const changed = Uint8Array.from(chunk.bytes)
        changed[at % changed.length] ^= change
        expect(() => receiver.accept({ ...chunk, bytes: changed })).toThrow(expect.objectContaining({ code: 'TRANSFER_CORRUPT' }))
        receiver.accept(chunk)
        expect(receiver.accept(sender.next()!).message).toEqual(patterned(2 * MIN_CHUNK_BYTES, 1))
      }),
    )
  })

  test('hostile chunks are refused by name, and nothing is allocated for what they announce', () => {
    const bytes = patterned(MIN_CHUNK_BYTES, 2)
    const good: Chunk = { message: 1, index: 0, count: 2, total_bytes: 2 * MIN_CHUNK_BYTES, crc32: crc32(bytes), bytes }
    const refused = (chunk: Chunk, code: string): void =>
      expect(() => new ChunkReceiver(LIMITS).accept(chunk)).toThrow(expect.objectContaining({ code }))
    refused({ ...good, total_bytes: 2 ** 52, count: 2 ** 42 }, 'MESSAGE_TOO_LARGE')
    refused({ ...good, count: 3 }, 'MESSAGE_INVALID')
    refused({ ...good, total_bytes: 1 }, 'MESSAGE_INVALID')
    refused({ ...good, index: 1 }, 'MESSAGE_INVALID')
    refused({ ...good, message: 2 }, 'MESSAGE_INVALID')
    refused({ ...good, bytes: new Uint8Array(0) }, 'MESSAGE_INVALID')
    const tiny = bytes.subarray(0, 1)
    refused({ ...good, bytes: tiny, crc32: crc32(tiny), total_bytes: 1000, count: 1000 }, 'MESSAGE_INVALID')
    const large = patterned(MIN_CHUNK_BYTES + 1, 3)
    refused({ ...good, bytes: large, crc32: crc32(large), total_bytes: large.length, count: 1 }, 'MESSAGE_INVALID')
  })

  test('a second chunk that contradicts the first is refused', () => {
    const sender = new ChunkSender(LIMITS)
    sender.add(patterned(3 * MIN_CHUNK_BYTES, 0))
    const [first, second] = [sender.next()!, sender.next()!]
    for (const change of [{ total_bytes: 3 * MIN_CHUNK_BYTES - 1 }, { count: 4 }, { bytes: second.bytes.subarray(1) }]) {
      const receiver = new ChunkReceiver(LIMITS)
      receiver.accept(first)
      expect(() => receiver.accept({ ...second, ...change })).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
    }
  })

  test('an acknowledgement of what was never sent is refused', () => {
    const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
    const sender = new ChunkSender(LIMITS)
    sender.add(patterned(2 * MIN_CHUNK_BYTES, 0))
    sender.next()
    expect(() => sender.acknowledge({ message: 1, chunks: 2 })).toThrow(refusal)
    expect(() => sender.acknowledge({ message: 2, chunks: 0 })).toThrow(refusal)
    expect(() => sender.resume({ message: 9, chunks: 0 })).toThrow(refusal)
    sender.next()
    expect(() => sender.acknowledge({ message: 1, chunks: 3 })).toThrow(refusal)
  })
})
