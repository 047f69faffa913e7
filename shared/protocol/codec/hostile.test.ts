/**
 * @file Bytes from a hostile end: whatever they are, a decoder refuses them by name or makes numbers of them, and never makes room for more than the
 * numbers that are expected.
 */
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import type { KnownRow } from './history.js'
import { openCutCodec, packedByteLength } from './index.js'
import { loadZstandard, type Zstandard } from './zstd.js'

const WIDTH = 24
const NUMBERS = ['fp32', 'fp16', 'int8', 'int5', 'int4:group=5', 'int3:outliers=4', 'int2:group=7:outliers=2']
const CHOSEN = ['', 'topk+', 'topk:share=0.4+']
const HISTORIES = ['delta+', 'reuse+', 'lowrank:rank=3+']
const PACKED = ['', '+zstd']

/** All that names can join, with each way to pack numbers. */
const NAMES = NUMBERS.flatMap((numbers) => [
  ...CHOSEN.flatMap((choice) => PACKED.map((packed) => `${choice}${numbers}${packed}`)),
  ...HISTORIES.flatMap((history) => PACKED.map((packed) => `${history}${numbers}${packed}`)),
  `delta+topk+${numbers}+zstd`,
])

function normal(count: number, seed: number): Float32Array {
  const values = new Float32Array(count)
  derive(seed, 'hostile').fillNormal(values, 0, 1)
  return values
}

interface Target {
  readonly encode: (seed: number) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Float32Array
  readonly count: number
  /** Before compression. */
  readonly contentBytes: number
}

const refusal = expect.objectContaining({ code: 'MESSAGE_INVALID' })

async function targetOf(name: string): Promise<Target> {
  const cut = await openCutCodec(name, 4)
  const rows: KnownRow[] = [
    { tokens: 9, before: normal(9 * WIDTH, 1) },
    { tokens: 5, before: null },
    { tokens: 1, before: normal(WIDTH, 2) },
  ]
  const shape = [15, WIDTH]
  const context = (seed: number) => ({ purpose: 'gradients', random: derive(seed, 'rounding') }) as const
  if (cut.history?.kind === 'changes') {
    const { changes } = cut.history
    return {
      encode: (seed) => changes.encode(normal(15 * WIDTH, seed), rows, WIDTH, context(seed)),
      decode: (bytes) => changes.decode(bytes, rows, WIDTH),
      count: 15 * WIDTH,
      contentBytes: changes.byteLength(rows, WIDTH),
    }
  }
  return {
    encode: (seed) => cut.codec.encode(normal(15 * WIDTH, seed), shape, context(seed)),
    decode: (bytes) => cut.codec.decode(bytes, shape),
    count: 15 * WIDTH,
    contentBytes: packedByteLength(name, shape),
  }
}

/** What a hostile end may do to real bytes, several times over. */
type Change =
  | { readonly kind: 'flip'; readonly at: number; readonly mask: number }
  | { readonly kind: 'fill'; readonly at: number; readonly length: number; readonly byte: number }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'drop'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const byte = fc.integer({ min: 0, max: 255 })
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, mask: fc.integer({ min: 1, max: 255 }) }),
  fc.record({ kind: fc.constant('fill' as const), at: place, length: fc.integer({ min: 1, max: 40 }), byte }),
  fc.record({ kind: fc.constant('cut' as const), at: place }),
  fc.record({ kind: fc.constant('drop' as const), at: place, length: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant('insert' as const), at: place, bytes: fc.uint8Array({ minLength: 1, maxLength: 20 }) }),
)

function changed(bytes: Uint8Array, changes: readonly Change[]): Uint8Array {
  let now = [...bytes]
  for (const made of changes) {
    const at = Math.floor(made.at * now.length)
    switch (made.kind) {
      case 'flip':
        if (now.length > 0) now[at] ^= made.mask
        break
      case 'fill':
        now.fill(made.byte, at, at + made.length)
        break
      case 'cut':
        now = now.slice(0, at)
        break
      case 'drop':
        now.splice(at, made.length)
        break
      case 'insert':
        now.splice(at, 0, ...made.bytes)
        break
    }
  }
  return Uint8Array.from(now)
}

/** Numbers, as many as are expected and of a memory no larger than theirs; or a refusal by name. */
function expectNumbersOrRefusal({ decode, count }: Target, bytes: Uint8Array): void {
  let values: Float32Array
  try {
    values = decode(bytes)
  } catch (error) {
    expect(error).toEqual(refusal)
    return
  }
  expect(values).toHaveLength(count)
  expect(values.buffer.byteLength).toBe(4 * count)
}

describe.each(NAMES)('%s', (name) => {
  let target: Target
  beforeAll(async () => {
    target = await targetOf(name)
  })

  test('refuses bytes that were changed, cut or made up, or makes as many numbers of them', () => {
    fc.assert(
      fc.property(fc.nat(), fc.array(change, { minLength: 1, maxLength: 4 }), (seed, changes) => {
        expectNumbersOrRefusal(target, changed(target.encode(seed), changes))
      }),
      { numRuns: 40 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), (bytes) => expectNumbersOrRefusal(target, bytes)),
      { numRuns: 10 },
    )
  })
})

describe('frames that hold more than they say, or say more than they hold', () => {
  let library: Zstandard
  beforeAll(async () => {
    library = await loadZstandard()
  })

  /** A frame of so many bytes, with another number in the place where its header tells them. */
  function frameThatSays(actual: number, said: number): Uint8Array {
    const frame = Uint8Array.from(library.compress(new Uint8Array(actual), 3))
    const lengthAt = 5 + ((frame[4] & 0x20) === 0 ? 1 : 0)
    const content = frame.subarray(lengthAt + [1, 2, 4, 8][frame[4] >> 6])
    // A single segment whose length has four bytes (RFC 8878, section 3.1.1.1.1).
    const told = Uint8Array.of(...frame.subarray(0, 4), 0x20 | (2 << 6), 0, 0, 0, 0, ...content)
    new DataView(told.buffer).setUint32(5, said, true)
    return told
  }

  test('are what the library reads, where they tell the truth', () => {
    expect(Uint8Array.from(library.decompress(frameThatSays(1000, 1000)))).toEqual(new Uint8Array(1000))
  })

  test.each(['fp32+zstd', 'int8+zstd', 'topk+int4+zstd', 'delta+fp16+zstd', 'lowrank:rank=3+int8+zstd', 'reuse+int8:group=7+zstd'])(
    '%s refuses them',
    async (name) => {
      const { decode, contentBytes } = await targetOf(name)
      for (const [actual, said] of [
        [2 ** 24, contentBytes],
        [2 ** 24, 2 ** 24],
        [2 ** 24, 0xffffffff],
        [10, contentBytes],
        [contentBytes, contentBytes - 1],
        [contentBytes, contentBytes + 1],
        [contentBytes, 0],
      ])
        expect(() => decode(frameThatSays(actual, said)), `${actual} bytes, told as ${said}`).toThrow(refusal)
    },
  )
})
