import fc from 'fast-check'
import { expect, test } from 'vitest'
import { derive } from '../../random.js'
import { largestTriples, type Factors } from './svd.js'

/** Sum of squares of what the factors leave of A. */
function left(values: Float32Array, width: number, { left: p, right: q }: Factors): number {
  const [rows, count] = [values.length / width, q.length / width]
  return values.reduce((sum, value, index) => {
    const [row, channel] = [Math.floor(index / width), index % width]
    let known = 0
    for (let k = 0; k < count; k++) known += p[k * rows + row] * q[k * width + channel]
    return sum + (value - known) ** 2
  }, 0)
}

/** Sums u_k v_k^T with orthonormal u_k, v_k (of a cosine transform) and these singular values. */
function matrixOf(singular: readonly number[], rows: number, width: number): Float32Array {
  const basis = (k: number, place: number, length: number): number =>
    Math.sqrt(2 / length) * Math.cos((Math.PI * (k + 1) * (place + 0.5)) / length)
  return Float32Array.from({ length: rows * width }, (_, index) =>
    singular.reduce((sum, s, k) => sum + s * basis(k, Math.floor(index / width), rows) * basis(k, index % width, width), 0),
  )
}

test('finds the largest singular values and leaves the rest', () => {
  const singular = [9, 5, 3, 2, 1, 0.5, 0.2, 0.1, 0.05]
  const [rows, width] = [30, 50]
  const values = matrixOf(singular, rows, width)
  for (const count of [1, 2, 3, 5]) {
    const factors = largestTriples(values, rows, width, count)
    const rest = singular.slice(count).reduce((sum, s) => sum + s * s, 0)
    expect(left(values, width, factors)).toBeCloseTo(rest, 3)
    for (let k = 0; k < count; k++) {
      const row = factors.left.subarray(k * rows, (k + 1) * rows)
      expect(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0))).toBeCloseTo(singular[k], 3)
    }
  }
})

test('leaves nothing of a matrix of that rank, whatever its shape, and of none is none', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), fc.nat(3), fc.nat(), (rows, width, rank, seed) => {
      const random = derive(seed, 'factors')
      const [p, q] = [new Float32Array(rank * rows), new Float32Array(rank * width)]
      random.fillNormal(p, 0, 1)
      random.fillNormal(q, 0, 1)
      const values = Float32Array.from({ length: rows * width }, (_, index) => {
        const [row, channel] = [Math.floor(index / width), index % width]
        return Array.from({ length: rank }, (__, k) => p[k * rows + row] * q[k * width + channel]).reduce((sum, term) => sum + term, 0)
      })
      const factors = largestTriples(values, rows, width, Math.min(Math.max(1, rank), rows, width))
      expect(left(values, width, factors)).toBeLessThan(1e-8)
      expect(largestTriples(values, rows, width, 1).left.every(Number.isFinite)).toBe(true)
    }),
  )
})
