import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import type { CodedTensor } from '../messages.js'
import { fp16 } from './fp16.js'
import { fp32 } from './fp32.js'
import { decodeTensor, encodeTensor, openCodec, packedByteLength, type CodecContext, type NamedCodec } from './index.js'

const ACTIVATIONS: CodecContext = { purpose: 'activations', random: null }
const GRADIENTS: CodecContext = { purpose: 'gradients', random: null }
const PURPOSES = ['activations', 'gradients', 'adapter'] as const
/** With a seed to draw from, or none. */
const anyContext = fc
  .record({ purpose: fc.constantFrom(...PURPOSES), seed: fc.option(fc.nat()) })
  .map(({ purpose, seed }): CodecContext => ({ purpose, random: seed === null ? null : derive(seed, 'codec') }))
/** Magnitudes from float32's smallest to its largest, all equally likely, and both zeros. */
const anyFinite = fc
  .tuple(fc.boolean(), fc.integer({ min: -149, max: 127 }), fc.float({ min: 1, max: Math.fround(1.9999), noNaN: true }))
  .map(([negative, exponent, mantissa]) => Math.fround((negative ? -1 : 1) * mantissa * 2 ** exponent))
/** Rows as layers give them, some far larger than others. */
const anyMatrix = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 40 }), fc.nat(), fc.integer({ min: -40, max: 20 }))
  .map(([rows, width, seed, exponent]) => {
    const values = new Float32Array(rows * width)
    derive(seed, 'matrix').fillNormal(values, 0, 2 ** exponent)
    return { shape: [rows, width], values: values.map((value, index) => (index % width === 3 ? 50 * value : value)) }
  })

const NAMES = [
  ...['fp32', 'fp16', 'int8', 'int7', 'int6', 'int5', 'int4', 'int3', 'int2'],
  ...['int8:group=7', 'int4:group=16:outliers=2', 'int3:outliers=50', 'int8:rounding=nearest'],
  ...['topk+fp32', 'topk:share=0.5:random=0.5+int8', 'topk:share=1+fp16', 'topk:share=0.01:random=0+int4:group=2'],
  ...['fp32+zstd', 'fp16+zstd:level=1', 'int4+zstd', 'topk+int8:outliers=1+zstd:level=19'],
]

/** Bytes as a message delivers them: at an odd offset of a larger buffer. */
function delivered(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(bytes.length + 3)
  buffer.set(bytes, 1)
  return buffer.subarray(1, 1 + bytes.length)
}

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

describe.each(NAMES)('codec %s', (name) => {
  let named: NamedCodec
  beforeAll(async () => {
    named = await openCodec(name)
  })
  const there = (values: Float32Array, shape: readonly number[], context: CodecContext): Float32Array =>
    named.codec.decode(delivered(named.codec.encode(values, shape, context)), shape)

  test('keeps every finite value within its error bound', () => {
    const anyRow = fc
      .array(anyFinite, { minLength: 1, maxLength: 20 })
      .map((list) => ({ shape: [list.length], values: Float32Array.from(list) }))
    fc.assert(
      fc.property(fc.oneof(anyRow, anyMatrix), anyContext, ({ values, shape }, context) => {
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        const decoded = there(values, shape, context)
        expect(decoded).toHaveLength(values.length)
        const worst = values.reduce(
          (most, value, i) => Math.max(most, Math.abs(decoded[i] - value) - named.codec.errorBound(value, largest, context)),
          0,
        )
        expect(worst).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  test('makes as many bytes as it says, and the same each time', () => {
    fc.assert(
      fc.property(anyMatrix, fc.option(fc.nat()), ({ values, shape }, seed) => {
        const packed = (): Uint8Array =>
          named.codec.encode(values, shape, { purpose: 'gradients', random: seed === null ? null : derive(seed, 'codec') })
        const bytes = packed()
        if (named.codec.isVariable) expect(bytes.length).toBeLessThanOrEqual(named.codec.byteLength(shape))
        else expect(bytes).toHaveLength(named.codec.byteLength(shape))
        expect(packed()).toEqual(bytes)
      }),
      { numRuns: 50 },
    )
  })

  test('makes a diverged row known: what is not a number never becomes one', () => {
    const values = Float32Array.from({ length: 12 }, (_, index) => index)
    values[7] = NaN
    const decoded = there(values, [3, 4], GRADIENTS)
    expect(decoded.subarray(4, 8).some(Number.isNaN)).toBe(true)
  })

  test('shares no memory with what it was given', () => {
    const values = Float32Array.from([1, 2])
    const bytes = named.codec.encode(values, [1, 2], ACTIVATIONS)
    values.fill(9)
    const decoded = named.codec.decode(bytes, [1, 2])
    const kept = [...decoded]
    bytes.fill(0)
    expect([...decoded]).toEqual(kept)
    expect(decoded).not.toContain(9)
  })

  test('gives back the shape and refuses another shape, another codec and missing or further bytes', () => {
    const shape = [2, 3]
    const coded = encodeTensor(named, Float32Array.from([1, 2, 3, 4, 5, 6]), shape, ACTIVATIONS)
    const refused = (changes: Partial<CodedTensor>, expected = shape): void =>
      expect(() => decodeTensor(named, { ...coded, ...changes }, expected)).toThrow(refusal)
    expect(decodeTensor(named, coded, shape)).toHaveLength(6)
    refused({}, [3, 2])
    refused({ codec: 'int9' })
    refused({ bytes: coded.bytes.subarray(1) })
    refused({ bytes: coded.bytes.subarray(0, 1) })
    refused({ bytes: Uint8Array.from([...coded.bytes, 0]) })
    refused({ bytes: new Uint8Array(0) })
    refused({ shape: [2 ** 31, 2 ** 31] }, [2 ** 31, 2 ** 31])
  })

  test('refuses damaged bytes by name, or makes finite or NaN numbers of them', () => {
    const values = Float32Array.from({ length: 24 }, (_, index) => Math.sin(index))
    const bytes = named.codec.encode(values, [3, 8], ACTIVATIONS)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = bytes.slice()
        damaged[at] ^= change
        try {
          expect(named.codec.decode(damaged, [3, 8])).toHaveLength(24)
        } catch (error) {
          expect(error).toEqual(refusal)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('packs an empty tensor', () => {
    expect(there(new Float32Array(0), [0, 4], GRADIENTS)).toHaveLength(0)
  })
})

test('what is compressed is counted as if it were not', () => {
  expect(packedByteLength('int8+zstd', [3, 7])).toBe(3 * (7 + 2))
  expect(packedByteLength('fp32', [3, 7])).toBe(3 * 7 * 4)
  expect(packedByteLength('fp16', [3, 7])).toBe(2 + 3 * 7 * 2)
})

describe('fp32', () => {
  test('returns every bit pattern, NaN and infinities included, little-endian', () => {
    const values = Float32Array.from([NaN, Infinity, -Infinity, -0, 1e-45, 1])
    const bytes = fp32.encode(values, [6], GRADIENTS)
    expect([...bytes.subarray(20)]).toEqual([0, 0, 0x80, 0x3f])
    expect(fp32.decode(delivered(bytes), [6])).toEqual(values)
  })
})

describe('fp16', () => {
  const viaHalf = (values: number[], context: CodecContext): number[] => [
    ...fp16.decode(delivered(fp16.encode(Float32Array.from(values), [values.length], context)), [values.length]),
  ]

  test('rounds to the nearest half, ties to even', () => {
    // Around 1 halves are 2^-10 apart: 1 + 2^-11 lies between 1 (even) and 1 + 2^-10, 1 + 3 * 2^-11 between that and 1 + 2^-9 (even).
    expect(viaHalf([1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20], ACTIVATIONS)).toEqual([1, 1 + 2 ** -9, 1 + 2 ** -10])
    // Subnormals are 2^-24 apart.
    expect(viaHalf([2 ** -25, 3 * 2 ** -25, 2 ** -25 + 2 ** -40], ACTIVATIONS)).toEqual([0, 2 ** -23, 2 ** -24])
    // The largest subnormal and the smallest normal.
    expect(viaHalf([1023 * 2 ** -24, 2 ** -14], ACTIVATIONS)).toEqual([1023 * 2 ** -24, 2 ** -14])
  })

  test('every half survives the way through float32 and back', () => {
    const halves = Float32Array.from({ length: 2 * 0x7bff + 1 }, (_, index) => {
      const bits = index % 0x7c00
      const exponent = bits >>> 10
      return exponent === 0 ? (bits & 0x3ff) * 2 ** -24 : (1 + (bits & 0x3ff) / 1024) * 2 ** (exponent - 15)
    })
    expect(fp16.decode(fp16.encode(halves, [halves.length], ACTIVATIONS), [halves.length])).toEqual(halves)
  })

  test('saturates instead of becoming infinite, and keeps NaN', () => {
    const large = [65504, 65519, 65520, 1e30, -1e30, Infinity, -Infinity, NaN]
    expect(viaHalf(large, ACTIVATIONS)).toEqual([65504, 65504, 65504, 65504, -65504, 65504, -65504, NaN])
  })

  test('gradients too small for a half do not vanish', () => {
    // 2^-24 is the smallest half; these would all become 0 without a scale.
    expect(viaHalf([3e-9, -1e-9], ACTIVATIONS)).toEqual([0, -0])
    const [first, second] = viaHalf([3e-9, -1e-9], GRADIENTS)
    expect(first / 3e-9).toBeCloseTo(1, 3)
    expect(second / -1e-9).toBeCloseTo(1, 3)
  })

  test('an absurd scale is refused', () => {
    const bytes = fp16.encode(Float32Array.of(1), [1], GRADIENTS)
    bytes[1] = 0x7f
    expect(() => fp16.decode(bytes, [1])).toThrow(refusal)
  })

  test('the largest float32 stays finite', () => {
    const largest = (2 - 2 ** -23) * 2 ** 127
    expect(viaHalf([largest, -largest], GRADIENTS)).toEqual([largest, -largest])
  })

  test('an infinite gradient does not push the others to zero', () => {
    expect(viaHalf([Infinity, 2 ** -20], GRADIENTS)[1]).toBe(2 ** -20)
  })
})
