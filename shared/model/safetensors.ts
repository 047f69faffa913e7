/**
 * @file The safetensors file format: header checks and writing. Files are untrusted: every length is compared before it is used.
 *
 * A file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes with neither gap nor overlap.
 * Source: https://github.com/huggingface/safetensors, "Format".
 */
import { compareCodeUnits } from '../compare.js'
import { UserError, unreachable } from '../errors.js'
import { elements } from '../tensor.js'
import { DTYPE_BYTES, elementBytes, type Dtype, type RawTensor, type Source } from './dtype.js'
import { duplicateKey } from './json-keys.js'

/** Bytes before the header. */
export const PREFIX_BYTES = 8
/** The cap that the reference implementation has too. */
const MAX_HEADER_BYTES = 100_000_000
const MAX_RANK = 32

/** A tensor's place in its file. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  /** From the start of the file. */
  readonly offset: number
  readonly bytes: number
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
}

function corrupt(source: Source, why: string): UserError {
  return new UserError({
    code: source.code,
    what: `${source.name} is not a whole safetensors file`,
    why,
    fix: 'fetch or write the file again',
  })
}

/**
 * The header's length in bytes, from the first 8 bytes of a file.
 *
 * @param prefix the file's first 8 bytes, or all it has.
 * @throws UserError source.code if the header would not fit the file or passes MAX_HEADER_BYTES.
 */
export function parseHeaderLength(prefix: Uint8Array, fileBytes: number, source: Source): number {
  if (prefix.length < PREFIX_BYTES)
    throw corrupt(source, `it has ${prefix.length} bytes, and the header's length alone takes ${PREFIX_BYTES}`)
  const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES)
  const length = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true)
  if (length > MAX_HEADER_BYTES) throw corrupt(source, `its header claims ${length} bytes, and at most ${MAX_HEADER_BYTES} are accepted`)
  if (PREFIX_BYTES + length > fileBytes) throw corrupt(source, `its header claims ${length} bytes, and the file ends after ${fileBytes}`)
  return length
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseMetadata(value: unknown, source: Source): Record<string, string> {
  if (!isRecord(value)) throw corrupt(source, '__metadata__ is not an object')
  return Object.fromEntries(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== 'string') throw corrupt(source, `__metadata__.${key} is not a string`)
      return [key, text]
    }),
  )
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function parseEntry(name: string, value: unknown, dataStart: number, fileBytes: number, source: Source): TensorEntry {
  if (!isRecord(value)) throw corrupt(source, `the entry of ${name} is not an object`)
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string') throw corrupt(source, `${name} has no dtype`)
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isCount)) throw corrupt(source, `${name} has no valid shape`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) throw corrupt(source, `${name} has no valid data_offsets`)
  const [begin, end] = offsets
  if (begin > end) throw corrupt(source, `${name} ends before it begins`)
  if (dataStart + end > fileBytes)
    throw corrupt(source, `${name} should end at byte ${dataStart + end}, and the file ends after ${fileBytes}`)
  const size = elementBytes(dtype)
  if (size !== null) {
    const needed = elements(shape) * size
    if (needed !== end - begin)
      throw corrupt(source, `${name} is ${dtype} [${shape.join(', ')}], which takes ${needed} bytes, and has ${end - begin}`)
  }
  return { name, dtype, shape, offset: dataStart + begin, bytes: end - begin }
}

/**
 * Checks a header and says where each tensor lies.
 *
 * @param header the bytes after the prefix, as many as parseHeaderLength gave.
 * @throws UserError source.code, naming the tensor, for anything that the format does not allow. Element types are not refused here.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, source: Source): SafetensorsHeader {
  let text: string
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header)
    json = JSON.parse(text)
  } catch {
    throw corrupt(source, 'its header is not JSON')
  }
  if (!isRecord(json) || !text.startsWith('{')) throw corrupt(source, 'its header is not a JSON object')
  const twice = duplicateKey(text)
  if (twice !== null) throw corrupt(source, `its header names ${twice} twice`)

  const dataStart = PREFIX_BYTES + header.length
  const tensors = new Map<string, TensorEntry>()
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = parseMetadata(value, source)
    else tensors.set(name, parseEntry(name, value, dataStart, fileBytes, source))
  }

  let position = dataStart
  for (const entry of [...tensors.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (entry.offset < position) throw corrupt(source, `${entry.name} overlaps the tensor before it`)
    if (entry.offset > position) throw corrupt(source, `there are ${entry.offset - position} unused bytes before ${entry.name}`)
    position += entry.bytes
  }
  if (position !== fileBytes) throw corrupt(source, `${fileBytes - position} bytes follow the last tensor`)
  return { tensors, metadata }
}

/** All tensors of a file held in memory, as views of it. @throws UserError as parseHeaderLength and parseHeader do. */
export function parseSafetensors(
  file: Uint8Array,
  source: Source,
): { tensors: Map<string, RawTensor>; metadata: Readonly<Record<string, string>> } {
  const length = parseHeaderLength(file.subarray(0, PREFIX_BYTES), file.length, source)
  const { tensors, metadata } = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + length), file.length, source)
  const views = [...tensors.values()].map(({ name, dtype, shape, offset, bytes }): [string, RawTensor] => [
    name,
    { name, dtype, shape, bytes: file.subarray(offset, offset + bytes) },
  ])
  return { tensors: new Map(views), metadata }
}

export interface TensorToWrite {
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/**
 * What stands in a file before the tensors' bytes: prefix and header, padded to 8 bytes.
 *
 * @param tensors in the order of their bytes, which follow without a gap.
 */
export function formatHeader(
  tensors: Iterable<{ readonly name: string; readonly dtype: string; readonly shape: readonly number[]; readonly bytes: number }>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const entries: [string, unknown][] = metadata ? [['__metadata__', metadata]] : []
  let dataBytes = 0
  for (const { name, dtype, shape, bytes } of tensors) {
    if (name === '__metadata__') unreachable('a tensor cannot be called __metadata__')
    entries.push([name, { dtype, shape, data_offsets: [dataBytes, dataBytes + bytes] }])
    dataBytes += bytes
  }
  // Written by hand: a plain object would put names that look like numbers first.
  const json = new TextEncoder().encode(`{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`)
  const headerBytes = Math.ceil(json.length / 8) * 8
  const header = new Uint8Array(PREFIX_BYTES + headerBytes).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(headerBytes), true)
  header.set(json, PREFIX_BYTES)
  return header
}

/**
 * A whole file: larger element types first (so that each tensor is aligned to its own), then by name.
 * The same tensors give the same bytes, in whatever order they come.
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, TensorToWrite>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const sorted = [...tensors].sort(
    ([nameA, a], [nameB, b]) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || compareCodeUnits(nameA, nameB),
  )
  for (const [name, { dtype, shape, bytes }] of sorted) {
    if (bytes.length !== elements(shape) * DTYPE_BYTES[dtype])
      unreachable(`${bytes.length} bytes for ${name}, ${dtype} [${shape.join(', ')}]`)
  }
  const header = formatHeader(
    sorted.map(([name, { dtype, shape, bytes }]) => ({ name, dtype, shape, bytes: bytes.length })),
    metadata,
  )
  const file = new Uint8Array(sorted.reduce((total, [, { bytes }]) => total + bytes.length, header.length))
  file.set(header)
  let offset = header.length
  for (const [, { bytes }] of sorted) {
    file.set(bytes, offset)
    offset += bytes.length
  }
  return file
}
