import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import type { CodecContext } from './codec.js'
import type { ChangeCodec, History, KnownRow } from './history.js'
import { openCodec, openCutCodec } from './index.js'

const NEAREST: CodecContext = { purpose: 'activations', random: null }
const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })
const WIDTH = 24

async function changesOf(name: string): Promise<ChangeCodec> {
  const { history } = await openCutCodec(name, 4)
  return (history as Extract<History, { kind: 'changes' }>).changes
}

function normal(count: number, seed: number, deviation = 1): Float32Array {
  const values = new Float32Array(count)
  derive(seed, 'values').fillNormal(values, 0, deviation)
  return values
}

/** Rows that are new, or known as something near. */
const anyBatch = fc
  .tuple(fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.boolean()), { minLength: 1, maxLength: 4 }), fc.nat())
  .map(([lengths, seed]) => {
    const rows = lengths.map(([tokens, isKnown], index): KnownRow => ({
      tokens,
      before: isKnown ? normal(tokens * WIDTH, seed + index) : null,
    }))
    const values = Float32Array.from(rows.flatMap(({ tokens, before }, index) => [...(before ?? normal(tokens * WIDTH, seed + index))]))
    const moves = normal(values.length, seed + 100, 0.1)
    return { rows, values: values.map((value, index) => value + moves[index]), seed }
  })

/** Comparing arrays element by element takes long; their memory, nothing. */
function isSame(a: Uint8Array | Float32Array, b: Uint8Array | Float32Array): boolean {
  return Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.byteLength), Buffer.from(b.buffer, b.byteOffset, b.byteLength)) === 0
}

function worst(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index])), 0)
}

describe.each([
  'delta+int8',
  'delta+fp16',
  'delta+topk:share=0.5+int4+zstd',
  'lowrank+int8',
  'lowrank:rank=2+int4+zstd',
  'reuse+int8+zstd',
])('%s', (name) => {
  test('makes as many bytes as it says, the same each time, and of them the same numbers', async () => {
    const changes = await changesOf(name)
    fc.assert(
      fc.property(anyBatch, fc.boolean(), ({ rows, values, seed }, isRandom) => {
        const packed = (): Uint8Array =>
          changes.encode(values, rows, WIDTH, { purpose: 'gradients', random: isRandom ? derive(seed, 'codec') : null })
        const bytes = packed()
        if (!name.endsWith('zstd')) expect(bytes).toHaveLength(changes.byteLength(rows, WIDTH))
        expect(isSame(packed(), bytes)).toBe(true)
        const decoded = changes.decode(bytes, rows, WIDTH)
        expect(decoded).toHaveLength(values.length)
        expect(isSame(changes.decode(Buffer.concat([Uint8Array.of(7), bytes]).subarray(1), rows, WIDTH), decoded)).toBe(true)
      }),
      { numRuns: 20 },
    )
  })

  test('refuses other rows, missing and further bytes, and damaged ones or makes numbers of them', async () => {
    const changes = await changesOf(name)
    const rows: KnownRow[] = [
      { tokens: 20, before: normal(20 * WIDTH, 1) },
      { tokens: 3, before: null },
    ]
    const bytes = changes.encode(normal(23 * WIDTH, 2), rows, WIDTH, NEAREST)
    const refused = (other: Uint8Array, known = rows): void => expect(() => changes.decode(other, known, WIDTH)).toThrow(refusal)
    refused(bytes.subarray(1))
    refused(bytes.subarray(0, 5))
    refused(new Uint8Array(0))
    refused(Uint8Array.of(...bytes, 0))
    refused(bytes, [rows[0], { tokens: 4, before: null }])
    refused(bytes, [rows[0], { tokens: 2 ** 45, before: null }])
    for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 60)) {
      const damaged = bytes.slice()
      damaged[at] ^= 0x55
      try {
        expect(changes.decode(damaged, rows, WIDTH)).toHaveLength(23 * WIDTH)
      } catch (error) {
        expect(error).toEqual(refusal)
      }
    }
  })
})

describe('delta', () => {
  test('keeps each number within the error of its change, and of whole rows within that of the numbers', async () => {
    const [changes, { codec }] = [await changesOf('delta+int8'), await openCodec('int8')]
    fc.assert(
      fc.property(anyBatch, ({ rows, values }) => {
        const decoded = changes.decode(changes.encode(values, rows, WIDTH, NEAREST), rows, WIDTH)
        let at = 0
        for (const { tokens, before } of rows) {
          for (let token = 0; token < tokens; token++, at += WIDTH) {
            const known = before?.subarray(token * WIDTH, (token + 1) * WIDTH)
            const change = values.slice(at, at + WIDTH).map((value, channel) => value - (known?.[channel] ?? 0))
            const largest = change.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
            // Beside the codec's, float32's own rounding of the difference and of the sum.
            const most = codec.errorBound(largest, largest, NEAREST) + 8 * 2 ** -23
            expect(worst(values.slice(at, at + WIDTH), decoded.slice(at, at + WIDTH))).toBeLessThanOrEqual(most)
          }
        }
      }),
      { numRuns: 30 },
    )
  })

  test('comes closer to a row that does not change any more with each visit', async () => {
    const changes = await changesOf('delta+int4')
    const values = normal(10 * WIDTH, 3)
    let before: Float32Array | null = null
    const errors: number[] = []
    for (let visit = 0; visit < 5; visit++) {
      const rows: KnownRow[] = [{ tokens: 10, before }]
      const random = derive(visit, 'rounding')
      before = changes.decode(changes.encode(values, rows, WIDTH, { purpose: 'activations', random }), rows, WIDTH)
      errors.push(worst(values, before))
    }
    // A step of int4 is a seventh of the largest number, rounded up to a bfloat16.
    for (let visit = 1; visit < errors.length; visit++) expect(errors[visit]).toBeLessThan(errors[visit - 1] / 6.9)
  })
})

describe('lowrank', () => {
  test('of a change of that rank is exact up to how its factors are packed', async () => {
    const [tokens, rank] = [30, 3]
    const [left, right] = [normal(tokens * rank, 4), normal(rank * WIDTH, 5)]
    const change = Float32Array.from({ length: tokens * WIDTH }, (_, index) => {
      const [token, channel] = [Math.floor(index / WIDTH), index % WIDTH]
      return [0, 1, 2].reduce((sum, k) => sum + left[token * rank + k] * right[k * WIDTH + channel], 0)
    })
    const before = normal(tokens * WIDTH, 6)
    const values = change.map((value, index) => value + before[index])
    const errorOf = async (name: string): Promise<number> => {
      const changes = await changesOf(name)
      const rows: KnownRow[] = [{ tokens, before }]
      return worst(values, changes.decode(changes.encode(values, rows, WIDTH, NEAREST), rows, WIDTH))
    }
    const largest = change.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    expect(await errorOf('lowrank:rank=3+fp32')).toBeLessThan(1e-5)
    expect(await errorOf('lowrank:rank=3+int8')).toBeLessThan(0.03 * largest)
    expect(await errorOf('lowrank:rank=2+fp32'), 'a direction fewer').toBeGreaterThan(0.03 * largest)
  })

  test('takes the bytes of its factors, and where those would be more the bytes of the numbers', async () => {
    const [changes, { codec }] = [await changesOf('lowrank:rank=4+int8'), await openCodec('int8')]
    const known = (tokens: number): KnownRow => ({ tokens, before: new Float32Array(tokens * WIDTH) })
    const factors = codec.byteLength([4, 30]) + codec.byteLength([4, WIDTH])
    expect(changes.byteLength([known(30)], WIDTH)).toBe(factors)
    expect(changes.byteLength([known(3)], WIDTH)).toBe(codec.byteLength([3, WIDTH]))
    expect(changes.byteLength([known(30), known(3), { tokens: 30, before: null }], WIDTH)).toBe(factors + codec.byteLength([33, WIDTH]))
  })

  test('makes a diverged change known', async () => {
    const changes = await changesOf('lowrank+int8')
    const rows: KnownRow[] = [{ tokens: 30, before: new Float32Array(30 * WIDTH) }]
    const values = normal(30 * WIDTH, 7)
    values[5] = NaN
    expect(changes.decode(changes.encode(values, rows, WIDTH, NEAREST), rows, WIDTH).some(Number.isNaN)).toBe(true)
  })
})

describe('reuse', () => {
  test('sends nothing of known rows, which stay what they were', async () => {
    const [changes, { codec }] = [await changesOf('reuse+int8'), await openCodec('int8')]
    const known: KnownRow = { tokens: 5, before: normal(5 * WIDTH, 8) }
    expect(changes.encode(normal(5 * WIDTH, 9), [known], WIDTH, NEAREST)).toHaveLength(0)
    expect(changes.decode(new Uint8Array(0), [known], WIDTH)).toEqual(known.before)
    const rows = [{ tokens: 2, before: null }, known]
    const values = normal(7 * WIDTH, 10)
    const bytes = changes.encode(values, rows, WIDTH, NEAREST)
    expect(bytes).toHaveLength(codec.byteLength([2, WIDTH]))
    const decoded = changes.decode(bytes, rows, WIDTH)
    expect(decoded.subarray(2 * WIDTH)).toEqual(known.before)
    expect(worst(decoded.subarray(0, 2 * WIDTH), values.subarray(0, 2 * WIDTH))).toBeLessThan(0.02)
  })
})
