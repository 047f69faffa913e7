/**
 * @file Arrays for the reference kernels: float64, row-major, slow and plain.
 */
import { unreachable } from '../errors.js'
import { elements } from '../tensor.js'

export class NdArray {
  constructor(
    readonly shape: readonly number[],
    readonly data: Float64Array,
  ) {
    if (data.length !== elements(shape)) unreachable(`${data.length} values for shape [${shape.join(', ')}]`)
  }

  static zeros(shape: readonly number[]): NdArray {
    return new NdArray(shape, new Float64Array(elements(shape)))
  }

  static from(shape: readonly number[], data: ArrayLike<number>): NdArray {
    return new NdArray(shape, Float64Array.from(data))
  }

  map(f: (value: number) => number): NdArray {
    return new NdArray(this.shape, this.data.map(f))
  }

  /** Elementwise with broadcasting; axes are aligned at the end. */
  zip(other: NdArray, f: (a: number, b: number) => number): NdArray {
    const rank = Math.max(this.shape.length, other.shape.length)
    const a = padded(this.shape, rank)
    const b = padded(other.shape, rank)
    const shape = a.map((dim, axis) => (dim === 1 ? b[axis] : dim))
    if (b.some((dim, axis) => dim !== 1 && dim !== shape[axis]))
      unreachable(`shapes [${this.shape.join(', ')}] and [${other.shape.join(', ')}] do not broadcast`)
    const out = NdArray.zeros(shape)
    const left = broadcastStrides(a)
    const right = broadcastStrides(b)
    walk(shape, (position, index) => {
      out.data[position] = f(this.data[dot(index, left)], other.data[dot(index, right)])
    })
    return out
  }

  reshape(shape: readonly number[]): NdArray {
    return new NdArray(shape, this.data)
  }

  /** Sums over the axes that `shape` (same rank after padding with leading ones) has as 1. */
  sumTo(shape: readonly number[]): NdArray {
    const target = padded(shape, this.shape.length)
    if (target.some((dim, axis) => dim !== 1 && dim !== this.shape[axis]))
      unreachable(`shape [${this.shape.join(', ')}] does not sum to [${shape.join(', ')}]`)
    const out = NdArray.zeros(shape)
    const strides = broadcastStrides(target)
    walk(this.shape, (position, index) => {
      out.data[dot(index, strides)] += this.data[position]
    })
    return out
  }
}

/** Calls `visit` for every element in row-major order with its position and index. The index array is reused. */
export function walk(shape: readonly number[], visit: (position: number, index: readonly number[]) => void): void {
  const index = shape.map(() => 0)
  const count = elements(shape)
  for (let position = 0; position < count; position++) {
    visit(position, index)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break
      index[axis] = 0
    }
  }
}

/** Row-major strides, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1)
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1] * shape[axis + 1]
  return strides
}

/** An index that a kernel was given, where it is one of 0..size-1. Other backends refuse or misread the rest, so the exact one must too. */
export function checkedIndex(what: string, index: number, size: number): number {
  return Number.isInteger(index) && index >= 0 && index < size ? index : unreachable(`${what}: index ${index} is not in 0..${size - 1}`)
}

function broadcastStrides(shape: readonly number[]): number[] {
  return stridesOf(shape).map((stride, axis) => (shape[axis] === 1 ? 0 : stride))
}

function padded(shape: readonly number[], rank: number): number[] {
  return [...Array<number>(rank - shape.length).fill(1), ...shape]
}

export function dot(index: readonly number[], strides: readonly number[]): number {
  let sum = 0
  for (let axis = 0; axis < index.length; axis++) sum += index[axis] * strides[axis]
  return sum
}
