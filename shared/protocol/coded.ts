/**
 * @file Between the host's tensors and those of messages. Ids and masks: `varints.ts`, `mask.ts`.
 */
import { f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import { invalid } from './codec/codec.js'
import { decodeTensor, encodeTensor, FP32 } from './codec/index.js'
import type { TensorMap } from './messages.js'

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

/** Sum of lengths that came over the wire: the rows a packed tensor has. @throws UserError MESSAGE_INVALID if one is 0 */
export function totalOf(lengths: Int32Array): number {
  return lengths.reduce((sum, length) => {
    if (length < 1) throw invalid(`a row has ${length} tokens`)
    return sum + length
  }, 0)
}
