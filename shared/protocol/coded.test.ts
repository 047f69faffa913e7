import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { f32 } from '../tensor.js'
import { bytesToI32, bytesToMask, decodeTensors, encodeTensors, i32ToBytes, maskToBytes, totalOf } from './coded.js'

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

describe('tensors by name', () => {
  test('come back bit for bit, in order', () => {
    const tensors = new Map([
      ['b.lora_A.weight', f32([2, 2], [1, NaN, -0, 1e-45])],
      ['a.lora_B.weight', f32([], [3])],
    ])
    const decoded = decodeTensors(encodeTensors(tensors))
    expect(decoded).toEqual(tensors)
    expect([...decoded.keys()]).toEqual([...tensors.keys()])
  })
  test('are refused when their bytes do not fill their shape, before anything is allocated', () => {
    const huge = { codec: 'fp32', shape: [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1], bytes: new Uint8Array(4) }
    expect(() => decodeTensors({ huge })).toThrow(refusal)
  })
})

describe('i32 as bytes', () => {
  test('round-trips from any offset', () => {
    fc.assert(
      fc.property(fc.int32Array(), fc.integer({ min: 0, max: 7 }), (values, offset) => {
        const buffer = new Uint8Array(values.length * 4 + offset)
        buffer.set(i32ToBytes(values), offset)
        expect(bytesToI32(buffer.subarray(offset), values.length)).toEqual(values)
      }),
    )
  })
  test('is little-endian', () => expect([...i32ToBytes(Int32Array.of(-2))]).toEqual([0xfe, 0xff, 0xff, 0xff]))
  test('refuses part of an integer and a wrong count', () => {
    expect(() => bytesToI32(new Uint8Array(5))).toThrow(refusal)
    expect(() => bytesToI32(new Uint8Array(8), 1)).toThrow(refusal)
  })
})

describe('bit masks', () => {
  test('round-trip', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0, 1)), (flags) => {
        expect([...bytesToMask(maskToBytes(Uint8Array.from(flags)), flags.length)]).toEqual(flags)
      }),
    )
  })
  test('put the first flag into the lowest bit', () => expect([...maskToBytes(Uint8Array.of(1, 1, 0, 0, 0, 0, 0, 0, 1))]).toEqual([3, 1]))
  test('refuse a wrong length and bits beyond the tokens', () => {
    expect(() => bytesToMask(Uint8Array.of(1), 9)).toThrow(refusal)
    expect(() => bytesToMask(Uint8Array.of(0b1000), 3)).toThrow(refusal)
  })
})

test('lengths of rows add up, and a row without tokens is refused', () => {
  expect(totalOf(Int32Array.of(3, 4))).toBe(7)
  expect(() => totalOf(Int32Array.of(9, -2))).toThrow(refusal)
})
