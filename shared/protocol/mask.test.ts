import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeMask, encodeMask } from './mask.js'

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
/** Flags one by one, and in runs as rows have them. */
const masks = fc.oneof(
  fc.array(fc.constantFrom(0, 1), { maxLength: 200 }),
  fc
    .array(fc.tuple(fc.constantFrom(0, 1), fc.integer({ min: 1, max: 300 })), { maxLength: 8 })
    .map((runs) => runs.flatMap(([flag, length]) => Array.from({ length }, () => flag))),
)
const row = (unscored: number, scored: number, end: number): number[] => [
  ...Array.from({ length: unscored }, () => 0),
  ...Array.from({ length: scored }, () => 1),
  ...Array.from({ length: end }, () => 0),
]

describe('a mask', () => {
  test('comes back as it was, in no more bytes than one and its bits', () => {
    fc.assert(
      fc.property(masks, (flags) => {
        const bytes = encodeMask(Uint8Array.from(flags))
        expect(bytes.length).toBeLessThanOrEqual(1 + Math.ceil(flags.length / 8))
        expect([...decodeMask(bytes, flags.length)]).toEqual(flags)
      }),
    )
  })

  test.each<[string, number[], number[]]>([
    ['flags that change often are bits, the first the lowest', [1, 1, 0, 1, 0, 1, 0, 1, 1], [0, 0b10101011, 0b1]],
    ['rows of text are two runs each', [...row(0, 255, 1), ...row(0, 255, 1)], [2, 0xff, 0x01, 1, 0xff, 0x01]],
    ['a prompt and its completion, twice', [...row(20, 30, 1), ...row(25, 40, 1)], [1, 20, 30, 26, 40]],
    ['all scored is one byte', row(0, 1000, 0), [2]],
    ['none scored is one byte', row(1000, 0, 0), [1]],
  ])('%s', (_, flags, bytes) => expect([...encodeMask(Uint8Array.from(flags))]).toEqual(bytes))

  test.each<[string, number[], number]>([
    ['no bytes', [], 0],
    ['an unknown kind', [3], 8],
    ['too few bits', [0, 1], 9],
    ['too many bits', [0, 1, 0], 8],
    ['bits beyond the tokens', [0, 0b1000], 3],
    ['a run of nothing', [1, 0], 8],
    ['a run beyond the tokens', [1, 9], 8],
    ['a last run of nothing', [1, 8], 8],
    ['runs in more bytes than the bits', [1, 1, 1], 8],
    ['a cut run', [1, 0x81], 300],
    ['a run of more than 31 bits', [1, 0xff, 0xff, 0xff, 0xff, 0x0f], 300],
  ])('of %s is refused', (_, bytes, count) => expect(() => decodeMask(Uint8Array.from(bytes), count)).toThrow(refusal))

  test('of any bytes is refused or has a flag for each token', () => {
    fc.assert(
      fc.property(fc.nat(2), fc.uint8Array({ maxLength: 4 }), fc.nat(40), (kind, body, count) => {
        try {
          expect(decodeMask(Uint8Array.of(kind, ...body), count)).toHaveLength(count)
        } catch (error) {
          expect(error).toEqual(refusal)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
