import { beforeAll, describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import { fp32 } from './fp32.js'
import { openCodec } from './index.js'
import { loadZstandard, zstdCodec, type Zstandard } from './zstd.js'

const NEAREST = { purpose: 'activations', random: null } as const
const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

let library: Zstandard
beforeAll(async () => {
  library = await loadZstandard()
})

describe('zstd', () => {
  test('makes codes of few bits smaller, since small ones are likelier', async () => {
    const values = new Float32Array(64 * 256)
    derive(1, 'likely').fillNormal(values, 0, 1)
    const [plain, packed] = await Promise.all(['int8', 'int8+zstd'].map(openCodec))
    const bytes = packed.codec.encode(values, [64, 256], NEAREST)
    expect(bytes.length / plain.codec.byteLength([64, 256])).toBeLessThan(0.95)
    expect(packed.codec.decode(bytes, [64, 256])).toEqual(plain.codec.decode(plain.codec.encode(values, [64, 256], NEAREST), [64, 256]))
  })

  test('refuses a frame that would become more than is expected, before it makes room', () => {
    const codec = zstdCodec(library, 3, fp32)
    const bomb = Uint8Array.from(library.compress(new Uint8Array(2 ** 26), 19))
    expect(bomb.length).toBeLessThan(10_000)
    expect(() => codec.decode(bomb, [2, 4])).toThrow(refusal)
  })

  test('refuses a second frame behind the first, a frame that tells no length, and other bytes', () => {
    const codec = zstdCodec(library, 3, fp32)
    const bytes = codec.encode(Float32Array.of(1, 2, 3), [3], NEAREST)
    expect(() => codec.decode(Uint8Array.from([...bytes, ...bytes]), [3])).toThrow(refusal)
    // A window descriptor in place of a content size (RFC 8878, section 3.1.1.1.1).
    expect(() => codec.decode(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x01, 0x00, 0x00), [3])).toThrow(refusal)
    expect(() => codec.decode(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2])).toThrow(refusal)
    expect(() => codec.decode(new Uint8Array(0), [2])).toThrow(refusal)
  })
})
