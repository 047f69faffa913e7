import { describe, expect, test } from 'vitest'
import { ackFrameBytes, chunkFrameBytes, type Side } from './frames.js'
import type { MessageOf } from './messages.js'
import { packMessage } from './packing.js'
import { payloadBytes } from './traffic.js'

/** Late in a long run: numbers are as long as they get. */
const LATE = { round: 400, attempt: 1, step: 9000, micro: 3 }
const MESSAGE = 60_000
const TOKENS = 2000
const WIDTH = 576

function activations(codec: string, codeBytes: number): MessageOf<'activations'> {
  return {
    ...{ type: 'activations', ...LATE, hop: 0, purpose: 'evaluate', normalizer: 50_000 },
    hidden: { codec, shape: [TOKENS, WIDTH], bytes: new Uint8Array(codeBytes) },
    rows: new Uint8Array(0),
    lengths: new Uint8Array(40),
    scored: new Uint8Array(300),
    targets: new Uint8Array(2 * TOKENS),
  }
}

function gradients(codec: string, codeBytes: number): MessageOf<'gradients'> {
  return {
    type: 'gradients',
    ...LATE,
    hidden: { codec, shape: [TOKENS, WIDTH], bytes: new Uint8Array(codeBytes) },
    rows: new Uint8Array(0),
    nll: 0.1,
    tokens: TOKENS,
  }
}

/** Bytes on the wire of a message in one chunk, beside its byte arrays. */
function overhead(message: MessageOf<'activations' | 'gradients'>, from: Side): number {
  const bytes = packMessage(message, from)
  const chunk = {
    ...{ message: MESSAGE, index: 0, count: 1, total_bytes: bytes.length, crc32: 0xffffffff },
    bytes: Uint8Array.from(bytes),
  }
  const ack = ackFrameBytes({ message: MESSAGE, chunks: 1 }, from === 'client' ? 'server' : 'client')
  return chunkFrameBytes(chunk, from) + ack - payloadBytes(message)
}

describe('beside its tensor, ids and mask a message of one chunk has less than 100 bytes on the wire', () => {
  test.each(['fp32', 'int4', 'int8+zstd', 'topk+int4+zstd'])('%s', (codec) => {
    for (const codeBytes of [10_000, 900_000]) {
      const both = [overhead(activations(codec, codeBytes), 'client'), overhead(gradients(codec, codeBytes), 'server')]
      for (const bytes of both) expect(bytes).toBeLessThan(100)
    }
  })
})
