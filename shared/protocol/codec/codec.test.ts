import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../../errors.js'
import { CODECS, codecByName, type CodecContext } from './index.js'
import type { CodedTensor } from '../messages.js'
import { fp16 } from './fp16.js'
import { fp32 } from './fp32.js'

const ACTIVATIONS: CodecContext = { purpose: 'activations' }
const GRADIENTS: CodecContext = { purpose: 'gradients' }
const anyContext = fc.constantFrom<CodecContext>(ACTIVATIONS, GRADIENTS, { purpose: 'adapter' })
/** Magnitudes from float32's smallest to its largest, all equally likely, and both zeros. */
const anyFinite = fc
  .tuple(fc.boolean(), fc.integer({ min: -149, max: 127 }), fc.float({ min: 1, max: Math.fround(1.9999), noNaN: true }))
  .map(([negative, exponent, mantissa]) => Math.fround((negative ? -1 : 1) * mantissa * 2 ** exponent))

/** The tensor as a message delivers it: at an odd offset of a larger buffer. */
function delivered(coded: CodedTensor): CodedTensor {
  const buffer = new Uint8Array(coded.bytes.length + 3)
  buffer.set(coded.bytes, 1)
  return { ...coded, bytes: buffer.subarray(1, 1 + coded.bytes.length) }
}

function viaHalf(values: number[], context: CodecContext): number[] {
  return [...fp16.decode(delivered(fp16.encode(Float32Array.from(values), [values.length], context)), [values.length])]
}

describe.each(CODECS.map((codec) => ({ codec, name: codec.name })))('codec $name', ({ codec }) => {
  test('keeps every finite value within its error bound', () => {
    fc.assert(
      fc.property(fc.array(anyFinite, { minLength: 1, maxLength: 20 }), anyContext, (list, context) => {
        const values = Float32Array.from(list)
        const largest = Math.max(...list.map(Math.abs))
        const decoded = codec.decode(delivered(codec.encode(values, [values.length], context)), [values.length])
        for (const [index, value] of values.entries()) {
          expect(Math.abs(decoded[index] - value)).toBeLessThanOrEqual(codec.errorBound(value, largest, context))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('gives back the shape and refuses another shape, another codec and missing bytes', () => {
    const coded = codec.encode(Float32Array.from([1, 2, 3, 4, 5, 6]), [2, 3], ACTIVATIONS)
    expect(coded.shape).toEqual([2, 3])
    expect([...codec.decode(coded, [2, 3])]).toEqual([1, 2, 3, 4, 5, 6])
    const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
    expect(() => codec.decode(coded, [3, 2])).toThrow(refusal)
    expect(() => codec.decode({ ...coded, codec: 'int9' }, [2, 3])).toThrow(refusal)
    expect(() => codec.decode({ ...coded, bytes: coded.bytes.subarray(1) }, [2, 3])).toThrow(refusal)
    expect(() => codec.decode({ ...coded, shape: [2 ** 31, 2 ** 31] }, [2 ** 31, 2 ** 31])).toThrow(refusal)
  })

  test('packs an empty tensor', () => {
    expect(codec.decode(codec.encode(new Float32Array(0), [0, 4], GRADIENTS), [0, 4])).toHaveLength(0)
  })
})

describe('fp32', () => {
  test('returns every bit pattern, NaN and infinities included, little-endian', () => {
    const values = Float32Array.from([NaN, Infinity, -Infinity, -0, 1e-45, 1])
    const coded = fp32.encode(values, [6], GRADIENTS)
    expect([...coded.bytes.subarray(20)]).toEqual([0, 0, 0x80, 0x3f])
    expect(fp32.decode(delivered(coded), [6])).toEqual(values)
  })

  test('shares no memory with what it was given', () => {
    const values = Float32Array.from([1])
    const coded = fp32.encode(values, [1], ACTIVATIONS)
    values[0] = 2
    const decoded = fp32.decode(coded, [1])
    coded.bytes.fill(0)
    expect(decoded[0]).toBe(1)
  })
})

describe('fp16', () => {
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
    expect(viaHalf([65504, 65519, 65520, 1e30, -1e30, Infinity, -Infinity, NaN], ACTIVATIONS)).toEqual([
      65504,
      65504,
      65504,
      65504,
      -65504,
      65504,
      -65504,
      NaN,
    ])
  })

  test('gradients too small for a half do not vanish', () => {
    // 2^-24 is the smallest half; these would all become 0 without a scale.
    expect(viaHalf([3e-9, -1e-9], ACTIVATIONS)).toEqual([0, -0])
    const [first, second] = viaHalf([3e-9, -1e-9], GRADIENTS)
    expect(first / 3e-9).toBeCloseTo(1, 3)
    expect(second / -1e-9).toBeCloseTo(1, 3)
  })

  test('an absurd scale is refused', () => {
    const coded = fp16.encode(Float32Array.of(1), [1], GRADIENTS)
    coded.bytes[1] = 0x7f
    expect(() => fp16.decode(coded, [1])).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
  })

  test('the largest float32 stays finite', () => {
    const largest = (2 - 2 ** -23) * 2 ** 127
    expect(viaHalf([largest, -largest], GRADIENTS)).toEqual([largest, -largest])
  })

  test('an infinite gradient does not push the others to zero', () => {
    expect(viaHalf([Infinity, 2 ** -20], GRADIENTS)[1]).toBe(2 ** -20)
  })
})

describe('codecByName', () => {
  test('finds each codec by its name', () => {
    for (const codec of CODECS) expect(codecByName(codec.name)).toBe(codec)
  })
  test('an unknown name is an error that lists the known ones', () => {
    expect(() => codecByName('fp16+zip')).toThrow(UserError)
    expect(() => codecByName('constructor')).toThrow(/fp32, fp16/)
  })
})
