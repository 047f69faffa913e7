/**
 * @file Inputs for contract tests: numbers that depend on nothing but their name and shape.
 */
import { expect } from 'vitest'
import { evaluateShape, type Bindings } from '../../graph/dims.js'
import { derive } from '../../random.js'
import { elements, f32, i32, type F32Tensor, type Tensor } from '../../tensor.js'
import { isHandle, type Results } from '../backend.js'
import type { OpInput } from './op-cases.js'

export function fill({ dtype, shape, fill: how }: OpInput, name: string, sizes: Bindings): Tensor {
  const concrete = evaluateShape(shape, sizes)
  const count = elements(concrete)
  if (typeof how === 'function') return (dtype === 'f32' ? f32 : i32)(concrete, how(sizes, count))
  const random = derive(11, 'contract', name, concrete.join())
  return f32(
    concrete,
    Array.from({ length: count }, () => (how === 'positive' ? 0.2 + random.uniform() : random.normal())),
  )
}

export function normal(shape: readonly number[], name: string): F32Tensor {
  return fill({ dtype: 'f32', shape, fill: 'normal' }, name, new Map()) as F32Tensor
}

/**
 * Largest difference, relative to the largest number: at most `tolerance`.
 */
export function expectClose(results: Results, expected: Results, tolerance = 1e-5): void {
  expect(Object.keys(results).sort()).toEqual(Object.keys(expected).sort())
  for (const [name, value] of Object.entries(results)) {
    const [got, want] = [tensor(value), tensor(expected[name])]
    expect(got.shape, name).toEqual(want.shape)
    expect(got.dtype, name).toBe(want.dtype)
    let largest = 0
    let difference = 0
    want.data.forEach((number, i) => {
      largest = Math.max(largest, Math.abs(number))
      const off = Math.abs(number - got.data[i])
      difference = Number.isNaN(off) ? Infinity : Math.max(difference, off)
    })
    expect(difference, `${name}: largest difference, where the largest number is ${largest}`).toBeLessThanOrEqual(
      tolerance * (largest || 1),
    )
  }
}

/** The same bytes, so that -0 is not 0. */
export function expectIdentical(results: Results, expected: Results): void {
  for (const [name, value] of Object.entries(expected)) {
    const [got, want] = [tensor(results[name]), tensor(value)]
    expect(got.shape, name).toEqual(want.shape)
    expect(Buffer.from(bytes(got)).equals(Buffer.from(bytes(want))), `${name} has the same bytes`).toBe(true)
  }
}

export function tensor(value: Results[string] | undefined): Tensor {
  if (value === undefined || isHandle(value)) throw new Error('a tensor was expected')
  return value
}

function bytes({ data }: Tensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}
