import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../errors.js'
import { DTYPE_BYTES, toFloat32, type Dtype, type Source } from './dtype.js'
import { PREFIX_BYTES, parseSafetensors, serializeSafetensors, type TensorToWrite } from './safetensors.js'

const source: Source = { name: 'model.safetensors', code: 'MODEL_CORRUPT' }

/** A file of that header text and as many zero bytes of data. */
function file(header: string, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(header)
  const bytes = new Uint8Array(PREFIX_BYTES + json.length + dataBytes)
  new DataView(bytes.buffer).setUint32(0, json.length, true)
  bytes.set(json, PREFIX_BYTES)
  return bytes
}

const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32'): string =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] })

describe('reading', () => {
  test('a file that the Python library wrote gives names, types, shapes and values', () => {
    const { tensors, metadata } = parseSafetensors(readFileSync(new URL('golden/gpt2/model/model.safetensors', import.meta.url)), source)
    expect(metadata).toEqual({ format: 'pt' })
    expect(tensors.get('transformer.h.0.attn.c_attn.weight')).toMatchObject({ dtype: 'F32', shape: [32, 96] })
    expect(tensors.size).toBe(4 * 12 + 4)
  })
  test('a float64 is rounded to float32', () => {
    const bytes = new Uint8Array(Float64Array.of(0.1, -1e300).buffer)
    expect([...toFloat32({ name: 'x', dtype: 'F64', bytes }, source)]).toEqual([Math.fround(0.1), -Infinity])
  })
  test('types that cannot be computed with may stand in a file, and are refused by name when read', () => {
    const { tensors } = parseSafetensors(file(`{"mask":${entry(0, 4, [2, 2], 'U8')},"new":${entry(4, 9, [10], 'F4')}}`, 9), source)
    expect(() => toFloat32(tensors.get('mask')!, source)).toThrowError(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', what: 'tensor mask cannot be read' }),
    )
    expect(() => toFloat32(tensors.get('new')!, source)).toThrow(/F4/)
    expect(() => toFloat32(tensors.get('mask')!, { name: 'a', code: 'ADAPTER_CORRUPT' })).toThrowError(
      expect.objectContaining({ code: 'ADAPTER_UNSUPPORTED' }),
    )
  })
  test('a scalar and an empty tensor are read', () => {
    const { tensors } = parseSafetensors(file(`{"one":${entry(0, 4, [])},"none":${entry(4, 4, [0, 7])}}`, 4), source)
    expect(tensors.get('one')!.shape).toEqual([])
    expect(toFloat32(tensors.get('none')!, source).length).toBe(0)
  })
})

describe('a damaged file is refused by name', () => {
  test.each([
    ['shorter than its prefix', new Uint8Array(3), /has 3 bytes/],
    ['a header beyond the file', file('{}').subarray(0, 9), /claims 2 bytes/],
    ['a header of 2^63 bytes', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80), /at most 100000000/],
    ['no JSON', file('{"a":'), /not JSON/],
    ['an array', file('[]'), /not a JSON object/],
    ['white space before the header', file(' {}'), /not a JSON object/],
    ['bad UTF-8', new Uint8Array([...file('{}').subarray(0, 8), 0xff, 0xff]), /not JSON/],
    ['a cut last tensor', file(`{"a":${entry(0, 8)}}`, 7), /a should end at byte/],
    ['bytes after the last tensor', file(`{"a":${entry(0, 8)}}`, 9), /1 bytes follow/],
    ['a gap', file(`{"a":${entry(0, 4)},"b":${entry(8, 12)}}`, 12), /4 unused bytes before b/],
    ['an overlap', file(`{"a":${entry(0, 8)},"b":${entry(4, 12)}}`, 12), /b overlaps/],
    ['a name twice', file(`{"a":${entry(0, 4)},"a":${entry(4, 8)}}`, 8), /names a twice/],
    ['a name twice, once escaped', file(`{"a":${entry(0, 4)},"\\u0061":${entry(0, 4)}}`, 4), /names a twice/],
    ['a size that the shape does not give', file(`{"a":${entry(0, 8, [3])}}`, 8), /takes 12 bytes, and has 8/],
    ['a size beyond all numbers', file(`{"a":${entry(0, 8, [2 ** 52, 2 ** 52])}}`, 8), /and has 8/],
    ['a negative dimension', file(`{"a":${entry(0, 8, [-2])}}`, 8), /a has no valid shape/],
    ['offsets in the wrong order', file(`{"a":${entry(8, 0, [2])}}`, 8), /ends before it begins/],
    ['half an offset', file(`{"a":${entry(0, 8.5, [2])}}`, 9), /no valid data_offsets/],
    ['no dtype', file(`{"a":{"shape":[1],"data_offsets":[0,4]}}`, 4), /a has no dtype/],
    ['metadata that is no text', file(`{"__metadata__":{"format":1}}`), /__metadata__.format/],
  ])('%s', (_, bytes, why) => {
    expect(() => parseSafetensors(bytes, source)).toThrowError(
      expect.objectContaining({ code: 'MODEL_CORRUPT', why: expect.stringMatching(why) }),
    )
  })

  /** Runs the parser; anything but a UserError gets through and fails the test. */
  function parses(bytes: Uint8Array): boolean {
    try {
      parseSafetensors(bytes, source)
      return true
    } catch (error) {
      if (error instanceof UserError) return false
      throw error
    }
  }
  test('random bytes never do worse than a UserError', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parses(bytes)))
    fc.assert(fc.property(fc.json(), fc.nat(64), (header, dataBytes) => void parses(file(header, dataBytes))))
  })
  test('a good file with some bytes changed never does worse than a UserError', () => {
    const good = file(`{"__metadata__":{"format":"pt"},"a":${entry(0, 8)},"b":${entry(8, 20, [3, 1])}}`, 20)
    expect(parses(good)).toBe(true)
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = good.slice()
        for (const [at, value] of changes) bytes[at] = value
        parses(bytes)
      }),
      { numRuns: 1000 },
    )
  })
  test('a good file cut anywhere is refused', () => {
    const good = serializeSafetensors(new Map([['a', { dtype: 'F32' as const, shape: [2], bytes: new Uint8Array(8) }]]))
    for (let length = 0; length < good.length; length++) expect(parses(good.subarray(0, length))).toBe(false)
  })
})

describe('writing', () => {
  const tensor = fc
    .record({
      dtype: fc.constantFrom(...(Object.keys(DTYPE_BYTES) as Dtype[])),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      fill: fc.nat(255),
    })
    .map(({ dtype, shape, fill }): TensorToWrite => ({
      dtype,
      shape,
      bytes: new Uint8Array(shape.reduce((product, dim) => product * dim, DTYPE_BYTES[dtype])).fill(fill),
    }))
  const tensors = fc.array(
    fc.tuple(
      fc.string().filter((name) => name !== '__metadata__'),
      tensor,
    ),
    { maxLength: 8 },
  )

  test('what is written is read back, whatever the order, and each tensor is aligned to its elements', () => {
    fc.assert(
      fc.property(tensors, (pairs) => {
        const map = new Map(pairs)
        const bytes = serializeSafetensors(map, { format: 'pt' })
        expect(serializeSafetensors(new Map([...map].reverse()), { format: 'pt' })).toEqual(bytes)
        const read = parseSafetensors(bytes, source)
        expect(read.metadata).toEqual({ format: 'pt' })
        expect(
          new Map([...read.tensors].map(([name, { dtype, shape, bytes: data }]) => [name, { dtype, shape, bytes: new Uint8Array(data) }])),
        ).toEqual(map)
        for (const { dtype, bytes: data } of read.tensors.values()) expect(data.byteOffset % DTYPE_BYTES[dtype as Dtype]).toBe(0)
      }),
    )
  })
})
