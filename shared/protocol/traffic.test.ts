import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChunkFields, chunkFrameBytes, frameBytes } from './frames.js'
import type { ClientMessage, ServerMessage } from './messages.js'
import { payloadBytes, placeOf, trafficKind, TrafficLedger } from './traffic.js'
import { sampleActivations, sampleDropped, sampleHello, sampleStep } from './testing/samples.js'

const tensor = (bytes: number) => ({ codec: 'fp32', shape: [bytes / 4], bytes: new Uint8Array(bytes) })
const inRound = { round: 2, attempt: 1 }

describe('the kind of a message', () => {
  const messages: [ClientMessage | ServerMessage, string][] = [
    [sampleHello(), 'control'],
    [sampleStep(0), 'control'],
    [sampleDropped(0), 'control'],
    [{ type: 'heartbeat' }, 'control'],
    [{ type: 'offer', ...inRound, step: 0, micro: 0, purpose: 'train', tokens: 4 }, 'control'],
    [{ type: 'grant', ...inRound, step: 0, micro: 0 }, 'control'],
    [sampleActivations(4), 'activations'],
    [{ ...sampleActivations(4), purpose: 'evaluate' }, 'evaluation'],
    [{ type: 'gradients', ...inRound, step: 0, micro: 0, hidden: tensor(8), rows: new Uint8Array(0), nll: 1, tokens: 1 }, 'gradients'],
    [{ type: 'loss', ...inRound, step: 0, micro: 0, nll: 1, tokens: 1 }, 'evaluation'],
    [{ type: 'evaluate', ...inRound, adapter: { a: tensor(8) }, codecs: null, max_batches: null, ask_first: true }, 'evaluation'],
    [{ type: 'evaluation', ...inRound, nll: 1, tokens: 1, bytes: 1, rows: 1 }, 'evaluation'],
  ]
  test.each(messages.map(([message, kind]) => ({ message, kind, type: message.type })))('$type is $kind', ({ message, kind }) => {
    expect(trafficKind(message)).toBe(kind)
  })
})

test('payload is the byte arrays of a message, however deep', () => {
  const moments = { updates: 1, mean: { a: tensor(12) }, square: { a: tensor(16) } }
  expect(payloadBytes({ type: 'adapter', adapter: { a: tensor(4), b: tensor(8) }, moments, nothing: null })).toBe(40)
})

test('a chunk is measured without being packed, for every length of its size field', () => {
  const lengths = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 65_000, max: 66_000 }))
  fc.assert(
    fc.property(
      lengths,
      fc.nat(2 ** 20),
      fc.nat(0xffffffff),
      fc.constantFrom('client' as const, 'server' as const),
      (length, message, crc32, side) => {
        const chunk = { message: message + 1, index: 0, count: 1, total_bytes: length, crc32, bytes: new Uint8Array(length) }
        expect(chunkFrameBytes(chunk, side)).toBe(frameBytes('chunk', ChunkFields.strip(chunk), side))
      },
    ),
  )
})

describe('the ledger', () => {
  const place = { round: 1, attempt: 0, client: 'b' }
  test('adds up by client, attempt, direction and kind, in a fixed order', () => {
    const ledger = new TrafficLedger()
    ledger.add(place, { direction: 'up', kind: 'activations', payloadBytes: 10, wireBytes: 15 })
    ledger.add(place, { direction: 'down', kind: 'gradients', payloadBytes: 1, wireBytes: 2 })
    ledger.add({ ...place, client: 'a' }, { direction: 'up', kind: 'control', payloadBytes: 0, wireBytes: 9 })
    ledger.add(place, { direction: 'up', kind: 'activations', payloadBytes: 20, wireBytes: 25 })
    ledger.add({ ...place, attempt: 1 }, { direction: 'up', kind: 'activations', payloadBytes: 5, wireBytes: 6 })
    ledger.add({ ...place, round: 2 }, { direction: 'up', kind: 'activations', payloadBytes: 7, wireBytes: 8 })
    expect(ledger.lines(1)).toEqual([
      { round: 1, attempt: 0, client: 'a', direction: 'up', kind: 'control', messages: 1, payload_bytes: 0, wire_bytes: 9, fp32_bytes: 0 },
      {
        round: 1,
        attempt: 0,
        client: 'b',
        direction: 'down',
        kind: 'gradients',
        messages: 1,
        payload_bytes: 1,
        wire_bytes: 2,
        fp32_bytes: 0,
      },
      {
        round: 1,
        attempt: 0,
        client: 'b',
        direction: 'up',
        kind: 'activations',
        messages: 2,
        payload_bytes: 30,
        wire_bytes: 40,
        fp32_bytes: 0,
      },
      {
        round: 1,
        attempt: 1,
        client: 'b',
        direction: 'up',
        kind: 'activations',
        messages: 1,
        payload_bytes: 5,
        wire_bytes: 6,
        fp32_bytes: 0,
      },
    ])
    expect(ledger.wireBytes(1, 'b')).toEqual({ up: 46, down: 2 })
    ledger.forget(1)
    expect(ledger.lines(1)).toEqual([])
    expect(ledger.lines(2)).toHaveLength(1)
  })

  test('knows what cut tensors are as fp32: of training by direction, evaluations apart, and a round that is forgotten no more', () => {
    const ledger = new TrafficLedger()
    ledger.add(place, { direction: 'up', kind: 'activations', payloadBytes: 10, wireBytes: 15 })
    ledger.addTensor(place, 'up', 'activations', [3, 8])
    ledger.addTensor({ ...place, attempt: 1 }, 'up', 'activations', [1, 8])
    ledger.addTensor(place, 'down', 'gradients', [3, 8])
    ledger.addTensor(place, 'up', 'evaluation', [5, 8])
    ledger.addTensor({ ...place, client: 'a' }, 'up', 'activations', [7, 8])
    // Four bytes for each channel of each token.
    expect(ledger.cutFp32Bytes(place)).toEqual({ up: 96, down: 96 })
    expect(ledger.lines(1).map(({ client, kind, messages, fp32_bytes }) => [client, kind, messages, fp32_bytes])).toEqual([
      ['a', 'activations', 0, 224],
      ['b', 'gradients', 0, 96],
      ['b', 'activations', 1, 96],
      ['b', 'evaluation', 0, 160],
      ['b', 'activations', 0, 32],
    ])
    ledger.forget(1)
    expect(ledger.cutFp32Bytes(place)).toEqual({ up: 0, down: 0 })
  })

  test('a message is booked on the round it names, else on the current one', () => {
    expect(placeOf(sampleStep(0), 'a', { round: 9, attempt: 3 })).toEqual({ round: 1, attempt: 0, client: 'a' })
    expect(placeOf({ type: 'finish', reason: 'done', complete: true }, 'a', { round: 9, attempt: 3 })).toEqual({
      round: 9,
      attempt: 3,
      client: 'a',
    })
  })
})
