/**
 * @file The largest singular triples of a matrix, by a random sketch. Source: Halko, Martinsson & Tropp 2011 (arXiv 0909.4061), algorithm 4.4 with one
 * power iteration and algorithm 5.1.
 */
import { derive } from '../../random.js'

/** Directions that are sketched beyond those that are wanted. */
const OVERSAMPLING = 4
const JACOBI_SWEEPS = 12

/** Of A [rows, width] with A = sum over k of left[k] (outer) right[k]: singular values are in `left`. */
export interface Factors {
  /** U S, transposed, [count, rows]. */
  readonly left: Float32Array
  /** V, transposed, [count, width]. */
  readonly right: Float32Array
}

/** @param count of triples, at most min(rows, width). The same numbers give the same bits. */
export function largestTriples(given: Float32Array, rows: number, width: number, count: number): Factors {
  const values = new Float64Array(given)
  const sketched = Math.min(rows, width, count + OVERSAMPLING)
  // Rows of these are directions: [sketched, rows] and [sketched, width].
  const left = orthonormal(timesTransposed(sketch(sketched, width), values, sketched, rows, width), sketched, rows)
  const right = orthonormal(timesMatrix(left, values, sketched, rows, width), sketched, width)
  const basis = orthonormal(timesTransposed(right, values, sketched, rows, width), sketched, rows)
  const projected = timesMatrix(basis, values, sketched, rows, width)
  const { squares, vectors } = symmetricEigen(gram(projected, sketched, width), sketched)
  const order = Array.from(squares.keys()).sort((a, b) => squares[b] - squares[a] || a - b)
  const factors = { left: new Float32Array(count * rows), right: new Float32Array(count * width) }
  for (let place = 0; place < count; place++) {
    const singular = Math.sqrt(Math.max(0, squares[order[place]]))
    combine(basis, vectors, order[place], sketched, rows, singular, factors.left.subarray(place * rows, (place + 1) * rows))
    const scale = singular > 0 ? 1 / singular : 0
    combine(projected, vectors, order[place], sketched, width, scale, factors.right.subarray(place * width, (place + 1) * width))
  }
  return factors
}

const sketches = new Map<number, Float64Array>()

/** Normal numbers [count, width]: the same for every matrix of that width. */
function sketch(count: number, width: number): Float64Array {
  let normal = sketches.get(width)
  if (!normal || normal.length < count * width) {
    const drawn = new Float32Array(count * width)
    derive(0, 'sketch', width).fillNormal(drawn, 0, 1)
    normal = new Float64Array(drawn)
    sketches.set(width, normal)
  }
  return normal
}

/** B A^T [count, rows] for B [count, width]. Four sums at a time: one alone waits for its last addition. */
function timesTransposed(b: Float64Array, a: Float64Array, count: number, rows: number, width: number): Float64Array {
  const product = new Float64Array(count * rows)
  for (let row = 0; row < rows; row++) {
    const own = a.subarray(row * width, (row + 1) * width)
    let k = 0
    for (; k + 4 <= count; k += 4) {
      let [s0, s1, s2, s3] = [0, 0, 0, 0]
      for (let j = 0, at0 = k * width, at1 = at0 + width, at2 = at1 + width, at3 = at2 + width; j < width; j++) {
        const value = own[j]
        s0 += b[at0 + j] * value
        s1 += b[at1 + j] * value
        s2 += b[at2 + j] * value
        s3 += b[at3 + j] * value
      }
      product[k * rows + row] = s0
      product[(k + 1) * rows + row] = s1
      product[(k + 2) * rows + row] = s2
      product[(k + 3) * rows + row] = s3
    }
    for (; k < count; k++) product[k * rows + row] = dot(b.subarray(k * width, (k + 1) * width), own)
  }
  return product
}

/** B A [count, width] for B [count, rows]. */
function timesMatrix(b: Float64Array, a: Float64Array, count: number, rows: number, width: number): Float64Array {
  const product = new Float64Array(count * width)
  for (let k = 0; k < count; k++)
    addCombination(product.subarray(k * width, (k + 1) * width), b.subarray(k * rows, (k + 1) * rows), a, rows, width)
  return product
}

/** Rows [count, length] made orthonormal in place, twice over (Gram & Schmidt); what vanishes becomes zeros. */
function orthonormal(vectors: Float64Array, count: number, length: number): Float64Array {
  for (let k = 0; k < count; k++) {
    const own = vectors.subarray(k * length, (k + 1) * length)
    const before = Math.sqrt(dot(own, own))
    for (let pass = 0; pass < 2; pass++)
      for (let other = 0; other < k; other++) {
        const direction = vectors.subarray(other * length, (other + 1) * length)
        const share = dot(own, direction)
        for (let index = 0; index < length; index++) own[index] -= share * direction[index]
      }
    const norm = Math.sqrt(dot(own, own))
    // What is left is rounding: of a matrix of fewer directions than were sketched.
    const scale = norm > before * 1e-12 ? 1 / norm : 0
    for (let index = 0; index < length; index++) own[index] *= scale
  }
  return vectors
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let index = 0; index < a.length; index++) sum += a[index] * b[index]
  return sum
}

/** M M^T [count, count] for M [count, length]. */
function gram(m: Float64Array, count: number, length: number): Float64Array {
  const product = new Float64Array(count * count)
  for (let a = 0; a < count; a++)
    for (let b = 0; b <= a; b++)
      product[a * count + b] = product[b * count + a] = dot(
        m.subarray(a * length, (a + 1) * length),
        m.subarray(b * length, (b + 1) * length),
      )
  return product
}

/** Eigenvalues, and eigenvectors as columns, of a symmetric matrix [n, n], which is used up. Source: Jacobi's cyclic rotations (Golub & Van Loan, 8.5). */
function symmetricEigen(m: Float64Array, n: number): { squares: Float64Array; vectors: Float64Array } {
  const vectors = new Float64Array(n * n)
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1
  for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++)
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const off = m[p * n + q]
        if (off === 0) continue
        const theta = (m[q * n + q] - m[p * n + p]) / (2 * off)
        const tangent = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1))
        const cosine = 1 / Math.sqrt(tangent * tangent + 1)
        const sine = tangent * cosine
        rotate(m, p, q, n, n, cosine, sine)
        rotate(m, p * n, q * n, n, 1, cosine, sine)
        rotate(vectors, p, q, n, n, cosine, sine)
      }
  return { squares: Float64Array.from({ length: n }, (_, i) => m[i * n + i]), vectors }
}

/** Turns two rows or columns, which begin at `p` and `q`, into each other. */
function rotate(m: Float64Array, p: number, q: number, n: number, step: number, cosine: number, sine: number): void {
  for (let i = 0; i < n; i++) {
    const [a, b] = [m[p + i * step], m[q + i * step]]
    m[p + i * step] = cosine * a - sine * b
    m[q + i * step] = sine * a + cosine * b
  }
}

/** scale * (column of `vectors`)^T M, for M [count, length]. */
function combine(
  m: Float64Array,
  vectors: Float64Array,
  column: number,
  count: number,
  length: number,
  scale: number,
  out: Float32Array,
): void {
  const factors = Float64Array.from({ length: count }, (_, k) => vectors[k * count + column] * scale)
  const sum = new Float64Array(length)
  addCombination(sum, factors, m, count, length)
  out.set(sum)
}

/** Adds f^T M to `sum` [length], for f [count] and M [count, length], in one order of additions; four rows at a time. */
export function addCombination(sum: Float64Array, factors: Float64Array, m: Float64Array, count: number, length: number): void {
  let k = 0
  for (; k + 4 <= count; k += 4) {
    const [f0, f1, f2, f3] = [factors[k], factors[k + 1], factors[k + 2], factors[k + 3]]
    const at0 = k * length
    const [at1, at2, at3] = [at0 + length, at0 + 2 * length, at0 + 3 * length]
    for (let j = 0; j < length; j++) sum[j] += f0 * m[at0 + j] + f1 * m[at1 + j] + f2 * m[at2 + j] + f3 * m[at3 + j]
  }
  for (; k < count; k++) {
    const factor = factors[k]
    for (let j = 0, at = k * length; j < length; j++) sum[j] += factor * m[at + j]
  }
}
