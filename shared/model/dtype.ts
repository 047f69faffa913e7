/**
 * @file The element types of safetensors files, and their conversion to the two that the engine computes with.
 *
 * Typed arrays are laid over file bytes: both are little-endian on every machine that runs Node or a browser with WebAssembly.
 */
import { UserError, unreachable, type ErrorCode } from '../errors.js'
import { decodeBF16, decodeF16, encodeBF16, encodeF16 } from './half.js'

/** Types that are read and written, with the bytes of an element. */
export const DTYPE_BYTES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4 } as const
export type Dtype = keyof typeof DTYPE_BYTES

/** Types that may stand in a file beside the weights (masks, counters) and are refused only when they are read; null: not whole bytes. */
const OTHER_DTYPE_BYTES: Readonly<Record<string, number | null>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  F8_E5M2FNUZ: 1,
  F8_E4M3FNUZ: 1,
  I16: 2,
  U16: 2,
  U32: 4,
  C64: 8,
  U64: 8,
  F4: null,
  F6_E2M3: null,
  F6_E3M2: null,
}

function isDtype(name: string): name is Dtype {
  return Object.hasOwn(DTYPE_BYTES, name)
}

/** Bytes of one element, or null for a type whose size is not known or not whole bytes. */
export function elementBytes(name: string): number | null {
  if (isDtype(name)) return DTYPE_BYTES[name]
  return Object.hasOwn(OTHER_DTYPE_BYTES, name) ? OTHER_DTYPE_BYTES[name] : null
}

/** Where bytes come from, for errors: a file's name, and the code of an error in its content. */
export interface Source {
  readonly name: string
  readonly code: Extract<ErrorCode, 'MODEL_CORRUPT' | 'ADAPTER_CORRUPT' | 'MESSAGE_INVALID'>
}

export interface RawTensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  /** Row-major, little-endian; may start at any offset of its buffer. */
  readonly bytes: Uint8Array
}

function refuseDtype(tensor: { name: string; dtype: string }, source: Source): UserError {
  return new UserError({
    code: source.code === 'ADAPTER_CORRUPT' ? 'ADAPTER_UNSUPPORTED' : 'MODEL_UNSUPPORTED',
    what: `tensor ${tensor.name} cannot be read`,
    why: `${source.name} holds it as ${tensor.dtype}, and float32 can be made of F64, F32, F16 and BF16 only`,
    fix: 'convert the file to one of these types',
  })
}

/** A copy at offset 0 of its own buffer: file bytes may start where no typed array may. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  const copy = new Uint8Array(bytes.length)
  copy.set(bytes)
  return copy.buffer
}

/**
 * The values as float32, always a copy; F64 is rounded. Takes whole elements, so any aligned part of a tensor will do.
 *
 * @throws UserError MODEL_UNSUPPORTED (ADAPTER_UNSUPPORTED for adapter files) if the type is not a float of 16, 32 or 64 bits.
 */
export function toFloat32(tensor: { name: string; dtype: string; bytes: Uint8Array }, source: Source): Float32Array<ArrayBuffer> {
  switch (tensor.dtype) {
    case 'F32':
      return new Float32Array(aligned(tensor.bytes))
    case 'F64':
      return Float32Array.from(new Float64Array(aligned(tensor.bytes)))
    case 'F16':
      return decodeF16(new Uint16Array(aligned(tensor.bytes)))
    case 'BF16':
      return decodeBF16(new Uint16Array(aligned(tensor.bytes)))
    default:
      throw refuseDtype(tensor, source)
  }
}

/** The bytes of float32 values in a float type; F16 and BF16 round to nearest even. */
export function fromFloat32(values: Float32Array, dtype: 'F32' | 'F16' | 'BF16'): Uint8Array {
  switch (dtype) {
    case 'F32':
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    case 'F16':
      return new Uint8Array(encodeF16(values).buffer)
    case 'BF16':
      return new Uint8Array(encodeBF16(values).buffer)
    default:
      return unreachable(`no such float type: ${String(dtype)}`)
  }
}
