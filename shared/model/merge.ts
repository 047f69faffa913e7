/**
 * @file The arithmetic of merging: W + scale B A, on any part of a weight at a time.
 */
import { loraAName, loraBName } from './adapter.js'
import { unreachable } from '../errors.js'
import type { NamedTensors } from '../tensor.js'

/** An adapter's product on one weight, as left right: left [rows, rank] and right [rank, columns] in the weight's own layout. */
export interface LowRank {
  readonly rows: number
  readonly columns: number
  readonly rank: number
  /** Row-major. The scale is in it. */
  readonly left: Float64Array
  readonly right: Float32Array
}

/**
 * The product scale B A of a linear layer as its weight is stored.
 *
 * y = W x + scale B (A x), so W [out, in] gets scale B A, and a W that is stored as [in, out] gets its transpose, scale A^T B^T.
 *
 * @param tensors A: f32 [r, in], B: f32 [out, r].
 * @param fanInFanOut whether the weight is stored [in, out].
 * Source: Hu et al. 2021, arXiv:2106.09685, section 4.1.
 */
export function lowRankOf(tensors: NamedTensors, path: string, scale: number, fanInFanOut: boolean): LowRank {
  const [a, b] = [tensors.get(loraAName(path)), tensors.get(loraBName(path))]
  if (!a || !b) return unreachable(`no adapter on ${path}`)
  const [rank, width] = a.shape as [number, number]
  const [out] = b.shape as [number, number]
  if (fanInFanOut) {
    const left = Float64Array.from(transposed(a.data, rank, width), (value) => value * scale)
    return { rows: width, columns: out, rank, left, right: transposed(b.data, out, rank) }
  }
  return { rows: out, columns: width, rank, left: Float64Array.from(b.data, (value) => value * scale), right: a.data }
}

/** [rows, columns] to [columns, rows]. */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = data[row * columns + column]
  return result
}

/**
 * Adds the product to a part of the weight, in place. Sums are made in float64 and rounded once.
 *
 * @param values f32, consecutive elements of the row-major weight.
 * @param start the index in the weight of the first of them.
 */
export function addLowRank(values: Float32Array, start: number, { rows, columns, rank, left, right }: LowRank): void {
  if (start + values.length > rows * columns) unreachable(`${start + values.length} elements of [${rows}, ${columns}]`)
  const sums = new Float64Array(columns)
  for (let done = 0; done < values.length;) {
    const row = Math.floor((start + done) / columns)
    const from = (start + done) % columns
    const to = Math.min(columns, from + values.length - done)
    for (let column = from; column < to; column++) sums[column] = values[done + column - from]
    for (let k = 0; k < rank; k++) {
      const factor = left[row * rank + k]
      for (let column = from; column < to; column++) sums[column] += factor * right[k * columns + column]
    }
    values.set(sums.subarray(from, to), done)
    done += to - from
  }
}
