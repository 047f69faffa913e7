/**
 * @file A matrix as factors of few directions: the space of its largest singular vectors by subspace iteration (Halko, Martinsson & Tropp 2011,
 * arXiv 0909.4061, algorithm 4.4).
 *
 * The iteration sees the matrix folded: two columns, with random signs, as one, which halves its work and finds nearly the same space of columns.
 * Signs are drawn anew for each matrix, so that what one fold hides the next one shows. The directions are a basis of that space and not singular
 * vectors: which basis factors have is nothing to who multiplies them, and finding singular vectors in it would take as long as all the rest.
 */
import { derive, type Random } from '../../random.js'
import { matrix, matrixOf, padded, timesInto, timesTransposed } from './matrix.js'

/** A matrix that has not so many times the columns that are wanted is not folded. */
const LEAST_TO_FOLD = 4
/** Few directions are found less surely, and cost less: below so many, they are refined once more. */
const MANY = 16

/** Of A [rows, width], nearly the sum over k of left[k] (outer) right[k]. */
export interface Factors {
  /** Orthonormal directions, or zeros where there are no more: [count, rows]. */
  readonly left: Float32Array
  /** A's share of each, [count, width]. */
  readonly right: Float32Array
}

/**
 * @param count of directions, at most min(rows, width)
 * @param random what signs are drawn from; null: the same ones for each matrix
 */
export function mainDirections(values: Float32Array, rows: number, width: number, count: number, random: Random | null): Factors {
  const a = matrixOf(values, rows, width)
  const signs = random ?? derive(0, 'fold')
  const columns = width < LEAST_TO_FOLD * count ? width : Math.ceil(width / 2)
  const length = padded(rows)
  const few = folded(a, width, columns, signs)
  const shares = matrix(count, columns)
  let basis = transposed(folded(few, columns, count, signs), count)
  for (let iteration = count < MANY ? 2 : 1; iteration > 0; iteration--) {
    timesInto(basis, few, length, columns, shares)
    // Orthonormal in between: the power of a small singular value would be lost beside that of the largest.
    basis = orthonormal(timesTransposed(shares, few, columns), count, length)
  }
  const left = new Float32Array(count * rows)
  for (let k = 0; k < count; k++) left.set(basis.subarray(k * length, k * length + rows), k * rows)
  const right = new Float32Array(count * width)
  timesInto(basis, a, length, width, right)
  return { left, right }
}

/** [rows, columns] of [rows, width]: every `columns`-th one added up, each with a random sign. */
function folded(a: Float64Array, width: number, columns: number, random: Random): Float64Array {
  const signs = Float64Array.from({ length: width }, () => 1 - 2 * (random.uint32() & 1))
  const sums = new Float64Array((a.length / width) * columns)
  for (let from = 0, to = 0; to < sums.length; from += width, to += columns)
    for (let start = 0; start < width; start += columns) {
      const end = Math.min(columns, width - start)
      for (let column = 0; column < end; column++) sums[to + column] += signs[start + column] * a[from + start + column]
    }
  return sums
}

/** [padded(columns), rows] of [rows, columns]. */
function transposed(a: Float64Array, columns: number): Float64Array {
  const rows = a.length / columns
  const turned = matrix(columns, rows)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) turned[column * rows + row] = a[row * columns + column]
  return turned
}

/** The first `count` rows of `length` made orthonormal in place, twice over (Gram & Schmidt); what vanishes becomes zeros. */
function orthonormal(vectors: Float64Array, count: number, length: number): Float64Array {
  for (let k = 0; k < count; k++) {
    const own = k * length
    const before = Math.sqrt(dot(vectors, own, own, length))
    for (let pass = 0; pass < 2; pass++)
      for (let other = 0; other < own; other += length) {
        const share = dot(vectors, own, other, length)
        for (let index = 0; index < length; index++) vectors[own + index] -= share * vectors[other + index]
      }
    const norm = Math.sqrt(dot(vectors, own, own, length))
    // What is left is rounding: of a matrix of fewer directions than were sketched.
    const scale = norm > before * 1e-12 ? 1 / norm : 0
    for (let index = own; index < own + length; index++) vectors[index] *= scale
  }
  return vectors
}

/** Of two rows that begin at `a` and `b`; their length is a multiple of four. */
function dot(values: Float64Array, a: number, b: number, length: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0]
  for (let index = 0; index < length; index += 4) {
    s0 += values[a + index] * values[b + index]
    s1 += values[a + index + 1] * values[b + index + 1]
    s2 += values[a + index + 2] * values[b + index + 2]
    s3 += values[a + index + 3] * values[b + index + 3]
  }
  return s0 + s1 + (s2 + s3)
}

/**
 * sum over k of left[k] (outer) right[k], for [count, rows] and [count, width], in one order of additions.
 * @param out [rows, width]
 */
export function multiplyFactors(
  left: Float32Array,
  right: Float32Array,
  count: number,
  rows: number,
  width: number,
  out: Float32Array,
): void {
  const factors = matrix(rows, count)
  for (let row = 0; row < rows; row++) for (let k = 0; k < count; k++) factors[row * count + k] = left[k * rows + row]
  timesInto(factors, right, count, width, out)
}
