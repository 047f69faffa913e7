import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { countVarints, decodeVarints, encodeVarints } from './varints.js'

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
const whole = fc.oneof(fc.nat(200), fc.nat(0x4100), fc.nat(0x7fffffff))

describe('variable-length integers', () => {
  test('come back as they were, from any offset', () => {
    fc.assert(
      fc.property(fc.array(whole), fc.nat(7), (values, offset) => {
        const encoded = encodeVarints(values)
        const buffer = new Uint8Array(encoded.length + offset)
        buffer.set(encoded, offset)
        expect([...decodeVarints(buffer.subarray(offset), values.length)]).toEqual(values)
        expect(countVarints(encoded)).toBe(values.length)
      }),
    )
  })

  // The example of the DWARF 5 standard, figure 22, and the largest number that there is.
  test.each([
    [2, [0x02]],
    [127, [0x7f]],
    [128, [0x80, 0x01]],
    [129, [0x81, 0x01]],
    [12857, [0xb9, 0x64]],
    [0x7fffffff, [0xff, 0xff, 0xff, 0xff, 0x07]],
  ])('%i has the bytes of LEB128', (value, bytes) => expect([...encodeVarints([value])]).toEqual(bytes))

  test.each<[string, number[], number?]>([
    ['a cut integer', [0x81]],
    ['another count than there is', [1, 2], 3],
    ['none where there must be one', [], 1],
    ['zero in two bytes', [0x80, 0x00]],
    ['an integer in a longer form than it needs', [0xff, 0x80, 0x00]],
    ['more than 31 bits', [0xff, 0xff, 0xff, 0xff, 0x08]],
    ['an integer without end', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
  ])('%s is refused', (_, bytes, count) => expect(() => decodeVarints(Uint8Array.from(bytes), count)).toThrow(refusal))

  test('any bytes are refused, or are the only bytes of their numbers', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        try {
          expect([...encodeVarints(decodeVarints(bytes))]).toEqual([...bytes])
        } catch (error) {
          expect(error).toEqual(refusal)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
