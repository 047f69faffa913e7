/**
 * @file Tensors as the host holds them: plain row-major arrays with a shape.
 */
import { unreachable } from './errors.js'

export interface F32Tensor {
  readonly dtype: 'f32'
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export interface I32Tensor {
  readonly dtype: 'i32'
  readonly shape: readonly number[]
  readonly data: Int32Array
}

export type Tensor = F32Tensor | I32Tensor

/** Tensors by name. For adapters: the PEFT key without `base_model.model.`, as `transformer.h.0.attn.c_attn.lora_A.weight`. */
export type NamedTensors = ReadonlyMap<string, F32Tensor>

/** Number of elements of a shape; 1 for a scalar. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1)
}

export function f32(shape: readonly number[], data: Float32Array | readonly number[]): F32Tensor {
  const array = data instanceof Float32Array ? data : Float32Array.from(data)
  if (array.length !== elements(shape)) unreachable(`${array.length} values for shape [${shape.join(', ')}]`)
  return { dtype: 'f32', shape, data: array }
}

export function i32(shape: readonly number[], data: Int32Array | readonly number[]): I32Tensor {
  const array = data instanceof Int32Array ? data : Int32Array.from(data)
  if (array.length !== elements(shape)) unreachable(`${array.length} values for shape [${shape.join(', ')}]`)
  return { dtype: 'i32', shape, data: array }
}

/** A scalar, shape []. */
export function scalar(value: number): F32Tensor {
  return f32([], [value])
}
