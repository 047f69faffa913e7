/**
 * @file Between the host's arrays and the byte fields of messages: adapters, ids, masks.
 */
import { f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import { invalid } from './codec/codec.js'
import { decodeTensor, encodeTensor, FP32 } from './codec/index.js'
import type { TensorMap } from './messages.js'

const I32_BYTES = 4

/** Adapters and moments: always fp32, so that an average of what was sent is exact. */
export function encodeTensors(tensors: NamedTensors): TensorMap {
  return Object.fromEntries(
    [...tensors].map(([name, { data, shape }]) => [name, encodeTensor(FP32, data, shape, { purpose: 'adapter', random: null })]),
  )
}

/**
 * @returns the tensors in the order of the message, each with its own memory.
 * @throws UserError MESSAGE_INVALID if one is not fp32, or its bytes do not fill its shape.
 */
export function decodeTensors(coded: TensorMap): Map<string, F32Tensor> {
  return new Map(Object.entries(coded).map(([name, tensor]) => [name, f32(tensor.shape, decodeTensor(FP32, tensor, tensor.shape))]))
}

/** i32 [n] as little-endian bytes [4 n]. */
export function i32ToBytes(values: Int32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * I32_BYTES)
  const view = new DataView(bytes.buffer)
  for (let index = 0; index < values.length; index++) view.setInt32(index * I32_BYTES, values[index], true)
  return bytes
}

/**
 * @param count how many values there must be; left away, as many as there are.
 * @throws UserError MESSAGE_INVALID if the bytes are not so many whole values.
 */
export function bytesToI32(bytes: Uint8Array, count?: number): Int32Array {
  if (bytes.length % I32_BYTES !== 0) throw invalid(`${bytes.length} bytes are not a whole number of 32-bit integers`)
  const length = bytes.length / I32_BYTES
  if (count !== undefined && length !== count) throw invalid(`it has ${length} integers, and ${count} are expected`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length }, (_, index) => view.getInt32(index * I32_BYTES, true))
}

/** Flags [n], any non-zero value set, as bits [ceil(n / 8)], lowest bit first. */
export function maskToBytes(flags: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil(flags.length / 8))
  for (let index = 0; index < flags.length; index++) if (flags[index]) bytes[index >> 3] |= 1 << (index & 7)
  return bytes
}

/**
 * @returns flags [count], each 0 or 1.
 * @throws UserError MESSAGE_INVALID unless there are exactly ceil(count / 8) bytes and the bits beyond `count` are zero.
 */
export function bytesToMask(bytes: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
  if (bytes.length !== Math.ceil(count / 8)) throw invalid(`a mask of ${bytes.length} bytes does not fit ${count} tokens`)
  if (count % 8 !== 0 && bytes.at(-1)! >> (count % 8) !== 0) throw invalid(`a mask of ${count} tokens has bits set beyond them`)
  const flags = new Uint8Array(count)
  for (let index = 0; index < count; index++) flags[index] = (bytes[index >> 3] >> (index & 7)) & 1
  return flags
}

/** Sum of dimensions that came over the wire as lengths; the rows a packed tensor has. */
export function totalOf(lengths: Int32Array): number {
  return lengths.reduce((sum, length) => {
    if (length < 1) throw invalid(`a row has ${length} tokens`)
    return sum + length
  }, 0)
}
