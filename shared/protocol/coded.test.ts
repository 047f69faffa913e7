import { describe, expect, test } from 'vitest'
import { f32 } from '../tensor.js'
import { decodeTensors, encodeTensors, totalOf } from './coded.js'

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

test('lengths of rows add up, and a row without tokens is refused', () => {
  expect(totalOf(Int32Array.of(3, 4))).toBe(7)
  expect(() => totalOf(Int32Array.of(9, 0))).toThrow(refusal)
})
