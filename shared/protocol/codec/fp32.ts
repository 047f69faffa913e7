/**
 * @file Codec fp32: the values as they are, little-endian. Exact, NaN and infinities included.
 */
import { elements } from '../../tensor.js'
import { checkLength, type Codec } from './codec.js'

const BYTES = 4
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

export const fp32: Codec = {
  isVariable: false,
  byteLength: (shape) => elements(shape) * BYTES,
  encode: (values) => f32ToBytes(values),
  decode(bytes, shape) {
    checkLength(bytes, fp32.byteLength(shape), shape)
    return bytesToF32(bytes)
  },
  errorBound: () => 0,
}

function f32ToBytes(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * BYTES)
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return IS_LITTLE_ENDIAN ? bytes : swapWords(bytes)
}

function bytesToF32(bytes: Uint8Array): Float32Array {
  // Copy: a decoded message is a view at an odd offset.
  const copy = new Uint8Array(bytes)
  return new Float32Array((IS_LITTLE_ENDIAN ? copy : swapWords(copy)).buffer)
}

function swapWords(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += BYTES) view.setUint32(at, view.getUint32(at), true)
  return bytes
}
