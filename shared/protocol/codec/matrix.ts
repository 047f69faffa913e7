/**
 * @file Products of small matrices in float64, row-major. Rows are kept in fours, those beyond the last being zeros, so that loops over them need no ends
 * of their own. A loop with eight sums runs twice as fast as one with four, and more would not fit a processor's registers.
 *
 * The order of additions is fixed: the same numbers give the same bits on every machine.
 */
const BLOCK = 4

/** The rows that are kept of so many. */
export function padded(rows: number): number {
  return Math.ceil(rows / BLOCK) * BLOCK
}

/** Zeros [padded(rows), width]. */
export function matrix(rows: number, width: number): Float64Array {
  return new Float64Array(padded(rows) * width)
}

/** A copy of [rows, width], padded. */
export function matrixOf(values: Float32Array, rows: number, width: number): Float64Array {
  const copy = matrix(rows, width)
  copy.set(values)
  return copy
}

/**
 * B A [m, width] for B [padded(m), n] and A [n, width].
 * @param product [m, width]
 */
export function timesInto(
  b: Float64Array,
  a: Float32Array | Float64Array,
  n: number,
  width: number,
  product: Float32Array | Float64Array,
): void {
  // Four of A's columns at a time lie together here, where a processor's cache keeps them for all rows of B.
  const panel = new Float64Array(BLOCK * n)
  const rows = product.length / width
  for (let column = 0; column < width; column += BLOCK) {
    const columns = Math.min(BLOCK, width - column)
    for (let k = 0; k < n; k++) for (let j = 0; j < columns; j++) panel[BLOCK * k + j] = a[k * width + column + j]
    for (let row = 0; row < rows; row += 2) {
      let s0 = 0
      let s1 = 0
      let s2 = 0
      let s3 = 0
      let t0 = 0
      let t1 = 0
      let t2 = 0
      let t3 = 0
      const next = n + row * n
      for (let k = row * n, at = 0; k < next; k++, at += BLOCK) {
        const f = b[k]
        const g = b[k + n]
        const a0 = panel[at]
        const a1 = panel[at + 1]
        const a2 = panel[at + 2]
        const a3 = panel[at + 3]
        s0 += f * a0
        s1 += f * a1
        s2 += f * a2
        s3 += f * a3
        t0 += g * a0
        t1 += g * a1
        t2 += g * a2
        t3 += g * a3
      }
      put(product, row * width + column, columns, s0, s1, s2, s3)
      if (row + 1 < rows) put(product, (row + 1) * width + column, columns, t0, t1, t2, t3)
    }
  }
}

function put(product: Float32Array | Float64Array, at: number, columns: number, s0: number, s1: number, s2: number, s3: number): void {
  product[at] = s0
  if (columns > 1) product[at + 1] = s1
  if (columns > 2) product[at + 2] = s2
  if (columns > 3) product[at + 3] = s3
}

/** B A^T [m, padded(n)] for B [m, width] and A [n, width]; m and n are padded. */
export function timesTransposed(b: Float64Array, a: Float64Array, width: number): Float64Array {
  const n = a.length / width
  const product = new Float64Array((b.length / width) * n)
  for (let row = 0; row * width < b.length; row += BLOCK) {
    const b0 = row * width
    const b1 = b0 + width
    const b2 = b1 + width
    const b3 = b2 + width
    for (let other = 0; other < n; other += 2) {
      let s0 = 0
      let s1 = 0
      let s2 = 0
      let s3 = 0
      let t0 = 0
      let t1 = 0
      let t2 = 0
      let t3 = 0
      const x = other * width
      const y = x + width
      for (let j = 0; j < width; j++) {
        const v = a[x + j]
        const w = a[y + j]
        const c0 = b[b0 + j]
        const c1 = b[b1 + j]
        const c2 = b[b2 + j]
        const c3 = b[b3 + j]
        s0 += c0 * v
        s1 += c1 * v
        s2 += c2 * v
        s3 += c3 * v
        t0 += c0 * w
        t1 += c1 * w
        t2 += c2 * w
        t3 += c3 * w
      }
      const at = row * n + other
      product[at] = s0
      product[at + 1] = t0
      product[at + n] = s1
      product[at + n + 1] = t1
      product[at + 2 * n] = s2
      product[at + 2 * n + 1] = t2
      product[at + 3 * n] = s3
      product[at + 3 * n + 1] = t3
    }
  }
  return product
}
