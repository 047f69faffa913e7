/**
 * @file Lossless coding on top of another codec: Zstandard (RFC 8878), by its reference implementation as WebAssembly. Codes of few bits are far from
 * equally likely, which is most of what it gains.
 */
import { invalid, type Codec } from './codec.js'

export type Zstandard = Pick<typeof import('@bokuweb/zstd-wasm'), 'compress' | 'decompress'>

let loading: Promise<Zstandard> | null = null

/** Compiled once, and only where somebody packs with it. */
export function loadZstandard(): Promise<Zstandard> {
  loading ??= import('@bokuweb/zstd-wasm').then(async (library) => {
    await library.init()
    return library
  })
  return loading
}

/** A lossless stage on top of bytes. */
export interface Compression {
  pack(bytes: Uint8Array): Uint8Array<ArrayBuffer>
  /**
   * @param most bytes that come out, or the very number with `isExact`
   * @throws UserError MESSAGE_INVALID, before it makes room for them, if they are more, or it is no frame
   */
  unpack(bytes: Uint8Array, most: number, isExact: boolean): Uint8Array
  /** What `pack` makes of so many bytes at most. */
  mostBytes(length: number): number
}

/** @param level of effort, 1 to 19 */
export function zstandard(library: Zstandard, level: number): Compression {
  const mostBytes = (length: number): number => length + Math.ceil(length / 128) + 64
  return {
    mostBytes,
    pack: (bytes) => Uint8Array.from(library.compress(bytes, level)),
    unpack(bytes, most, isExact) {
      const length = contentLength(bytes)
      if (isExact ? length !== most : length > most)
        throw invalid(`its Zstandard frame holds ${length} bytes, and ${isExact ? '' : 'at most '}${most} are expected`)
      if (bytes.length > mostBytes(length)) throw invalid(`a Zstandard frame of ${length} bytes does not take ${bytes.length}`)
      return decompressed(library, bytes, length)
    },
  }
}

export function zstdCodec(library: Zstandard, level: number, inner: Codec): Codec {
  const { pack, unpack, mostBytes } = zstandard(library, level)
  return {
    isVariable: true,
    byteLength: (shape) => mostBytes(inner.byteLength(shape)),
    encode: (values, shape, context) => pack(inner.encode(values, shape, context)),
    decode: (bytes, shape) => inner.decode(unpack(bytes, inner.byteLength(shape), !inner.isVariable), shape),
    errorBound: inner.errorBound,
  }
}

/** The library makes room for as much as the first frame's header says, so that is checked before; it refuses whatever else does not fit. */
function decompressed(library: Zstandard, bytes: Uint8Array, length: number): Uint8Array {
  try {
    // It takes what an array's buffer holds, and not a part of it.
    const content = library.decompress(Uint8Array.from(bytes))
    if (content.length === length) return content
  } catch {
    // told below
  }
  throw invalid('it is not a Zstandard frame, or a damaged one')
}

const MAGIC = 0xfd2fb528
/** Bytes of the field that tells the content's length, by the two highest bits of the descriptor; 0: one byte in a single segment. */
const LENGTH_BYTES = [0, 2, 4, 8] as const

/** What a frame's header says of its content, in bytes (RFC 8878, section 3.1.1.1). @throws UserError MESSAGE_INVALID if it says nothing */
function contentLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 18) {
    const padded = new Uint8Array(18)
    padded.set(bytes)
    if (bytes.length < 6) throw invalid(`${bytes.length} bytes are no Zstandard frame`)
    return contentLength(padded)
  }
  if (view.getUint32(0, true) !== MAGIC) throw invalid('it does not begin as a Zstandard frame does')
  const descriptor = view.getUint8(4)
  const isSingleSegment = (descriptor & 0x20) !== 0
  const at = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]
  switch (LENGTH_BYTES[descriptor >> 6]) {
    case 0:
      if (!isSingleSegment) throw invalid('its Zstandard frame does not tell the length of its content')
      return view.getUint8(at)
    case 2:
      return view.getUint16(at, true) + 256
    case 4:
      return view.getUint32(at, true)
    case 8:
      return Number(view.getBigUint64(at, true))
  }
}
