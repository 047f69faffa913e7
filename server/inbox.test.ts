import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gpt2 } from '../shared/model/families/gpt2.js'
import { UserError } from '../shared/errors.js'
import { fp16 } from '../shared/protocol/codec/fp16.js'
import { encodeTensor, FP32 } from '../shared/protocol/codec/index.js'
import { cutMemory } from '../shared/protocol/codec/row-memory.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import { ServerCut } from '../shared/protocol/cut/server-cut.js'
import { encodeMask } from '../shared/protocol/mask.js'
import type { Activations, TensorMap } from '../shared/protocol/messages.js'
import { encodeVarints } from '../shared/protocol/varints.js'
import { f32 } from '../shared/tensor.js'
import { readActivations, readAdapter, readMoments } from './inbox.js'

const WIDTH = 2
const architecture = {
  ...gpt2.architecture(gpt2.parse({ model_type: 'gpt2', n_layer: 1, n_head: 1, n_embd: WIDTH, n_positions: 8, vocab_size: 10 })),
}
const NEAREST = { purpose: 'activations', random: null } as const
const cut = new ServerCut(
  { activations: { ...FP32, history: null }, gradients: { ...FP32, history: null }, evaluation: FP32 },
  cutMemory(0),
)
const rules = { architecture, maxRows: 2, cut }

/** Two rows of 2 and 3 tokens, of which the first of each predicts the next. */
function batch(changes: Partial<Activations> = {}): Activations {
  return {
    type: 'activations',
    round: 1,
    attempt: 0,
    step: 0,
    micro: 0,
    hop: 0,
    purpose: 'train',
    lengths: encodeVarints([2, 3]),
    hidden: encodeTensor(FP32, new Float32Array(5 * WIDTH).fill(0.5), [5, WIDTH], NEAREST),
    rows: new Uint8Array(0),
    scored: encodeMask(Uint8Array.of(1, 0, 1, 0, 0)),
    targets: encodeVarints([7, 9]),
    normalizer: 2,
    ...changes,
  }
}

const hidden = (values: readonly number[], shape: readonly number[]) => encodeTensor(FP32, Float32Array.from(values), shape, NEAREST)
const refused = expect.objectContaining({ code: 'MESSAGE_INVALID' })

describe('activations', () => {
  test('become what the top works on', () => {
    const read = readActivations(batch(), rules)!.batch
    expect([...read.scored.data]).toEqual([0, 2])
    expect([...read.targets.data]).toEqual([7, 9])
    expect([...read.slots.data]).toEqual([0, 1, -1, 2, 3, 4])
    expect(read.hidden!.shape).toEqual([5, WIDTH])
  })

  test('may be without a scored token, in a step that has some', () => {
    expect(
      readActivations(batch({ scored: encodeMask(new Uint8Array(5)), targets: new Uint8Array(0) }), rules)!.batch.targets.shape,
    ).toEqual([0])
  })

  test.each<[string, Partial<Activations>]>([
    ['no rows', { lengths: new Uint8Array(0) }],
    ['more rows than a batch has', { lengths: encodeVarints([2, 2, 1]) }],
    ['lengths that end in the middle of one', { lengths: Uint8Array.of(2, 0x83) }],
    ['a row of no tokens', { lengths: encodeVarints([5, 0]) }],
    ['a row longer than the model has positions', { lengths: encodeVarints([9]) }],
    ['a row so long that its activations could not be held', { lengths: encodeVarints([0x7fffffff]) }],
    ['activations of fewer tokens', { hidden: hidden([1, 2, 3, 4], [2, WIDTH]) }],
    ['activations of another width', { hidden: hidden([1, 2, 3, 4, 5], [5, 1]) }],
    ['a shape that its bytes do not fill', { hidden: { codec: 'fp32', shape: [5, WIDTH], bytes: new Uint8Array(4) } }],
    [
      'another codec than was agreed on',
      { hidden: encodeTensor({ name: 'fp16', codec: fp16 }, new Float32Array(10), [5, WIDTH], NEAREST) },
    ],
    ['rows that nobody is to remember', { rows: encodeVarints([1, 7, 8]) }],
    ['NaN', { hidden: hidden([0, 0, 0, NaN, 0, 0, 0, 0, 0, 0], [5, WIDTH]) }],
    ['an infinity', { hidden: hidden([0, 0, 0, 0, 0, 0, 0, 0, 0, -Infinity], [5, WIDTH]) }],
    ['a mask of other tokens', { scored: encodeMask(new Uint8Array(9)) }],
    ['a mask with bits beyond its tokens', { scored: Uint8Array.of(0, 0xff) }],
    ['a mask with runs beyond its tokens', { scored: Uint8Array.of(1, 9) }],
    ['fewer targets than scored tokens', { targets: encodeVarints([1]) }],
    ['more targets than scored tokens', { targets: encodeVarints([1, 2, 3]) }],
    ['a target beyond the vocabulary', { targets: encodeVarints([1, 10]) }],
    ['targets that end in the middle of one', { targets: Uint8Array.of(1, 0x85) }],
    ['a target in more bytes than it needs', { targets: Uint8Array.of(0x81, 0, 1) }],
    ['a normalizer smaller than its own scored tokens', { normalizer: 1 }],
  ])('with %s are refused', (_, changes) => {
    expect(() => readActivations(batch(changes), rules)).toThrow(refused)
  })

  test('of any bytes are read or refused, never half-used', () => {
    const bytes = (maxLength: number) => fc.uint8Array({ maxLength })
    fc.assert(
      fc.property(
        bytes(12),
        bytes(60),
        fc.array(fc.nat(8), { maxLength: 3 }),
        bytes(3),
        bytes(12),
        (lengths, body, shape, scored, targets) => {
          const message = batch({ lengths, scored, targets, hidden: { codec: 'fp32', shape, bytes: body } })
          try {
            const read = readActivations(message, rules)!.batch
            expect(read.targets.data.length).toBe(read.scored.data.length)
          } catch (error) {
            expect(error).toBeInstanceOf(UserError)
          }
        },
      ),
    )
  })
})

describe('an adapter', () => {
  const like = new Map([
    ['a', f32([1, 2], [0, 0])],
    ['b', f32([2, 1], [0, 0])],
  ])
  const coded = (values: Record<string, readonly number[]>): TensorMap =>
    encodeTensors(new Map(Object.entries(values).map(([name, data]) => [name, f32(name === 'a' ? [1, 2] : [data.length, 1], data)])))

  test('is read in the order of the one that was given, whatever the message has', () => {
    expect([...readAdapter(coded({ b: [3, 4], a: [1, 2] }), like).keys()]).toEqual(['a', 'b'])
  })

  test.each([
    ['a missing tensor', coded({ a: [1, 2] })],
    ['a tensor of somebody else', coded({ a: [1, 2], b: [1, 2], c: [1] })],
    ['another shape', coded({ a: [1, 2], b: [1, 2, 3] })],
    ['a value that is not a number', coded({ a: [1, NaN], b: [1, 2] })],
    ['an infinite value', coded({ a: [1, 2], b: [Infinity, 2] })],
    ['bytes that do not fill its shape', { ...coded({ a: [1, 2] }), b: { codec: 'fp32', shape: [2, 1], bytes: new Uint8Array(2 ** 10) } }],
  ])('with %s is refused', (_, message) => {
    expect(() => readAdapter(message, like)).toThrow(refused)
  })

  test('has moments that an optimizer could have made', () => {
    const moments = (updates: number, square: number[]) => ({
      updates,
      mean: coded({ a: [-1, 2], b: [1, 2] }),
      square: coded({ a: square, b: [1, 2] }),
    })
    expect(readMoments(moments(4, [0, 1]), like, 4)).toMatchObject({ updates: 4 })
    expect(() => readMoments(moments(5, [0, 1]), like, 4)).toThrow(refused)
    expect(() => readMoments(moments(4, [0, -1]), like, 4)).toThrow(refused)
  })

  test('has no moments if it made no update: they are zeros', () => {
    const none = { updates: 0, mean: {}, square: {} }
    const zeros = new Map([...like].map(([name, { shape, data }]) => [name, f32(shape, new Float32Array(data.length))]))
    expect(readMoments(none, like, 4)).toEqual({ updates: 0, mean: zeros, square: zeros })
    expect(() => readMoments({ ...none, updates: 1 }, like, 4)).toThrow(refused)
  })
})
