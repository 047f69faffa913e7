import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../../random.js'
import { mainDirections, multiplyFactors, type Factors } from './directions.js'

/** Sum of squares of what the factors leave of A. */
function left(values: Float32Array, rows: number, width: number, { left: p, right: q }: Factors): number {
  const known = new Float32Array(values.length)
  multiplyFactors(p, q, p.length / rows, rows, width, known)
  return values.reduce((sum, value, index) => sum + (value - known[index]) ** 2, 0)
}

/** Sums u_k v_k^T with orthonormal u_k, v_k (of a cosine transform) and these singular values. */
function matrixOf(singular: readonly number[], rows: number, width: number): Float32Array {
  const basis = (k: number, place: number, length: number): number =>
    Math.sqrt(2 / length) * Math.cos((Math.PI * (k + 1) * (place + 0.5)) / length)
  return Float32Array.from({ length: rows * width }, (_, index) =>
    singular.reduce((sum, s, k) => sum + s * basis(k, Math.floor(index / width), rows) * basis(k, index % width, width), 0),
  )
}

describe('main directions', () => {
  test.each([null, 1, 2])('leave little more than the largest singular vectors do (stream %s)', (seed) => {
    const singular = [9, 5, 3, 2, 1, 0.5, 0.2, 0.1, 0.05]
    const [rows, width] = [30, 50]
    const values = matrixOf(singular, rows, width)
    for (const count of [1, 2, 3, 5]) {
      const factors = mainDirections(values, rows, width, count, seed === null ? null : derive(seed, 'signs'))
      const least = singular.slice(count).reduce((sum, s) => sum + s * s, 0)
      const made = left(values, rows, width, factors)
      expect(made).toBeGreaterThan(least * 0.999)
      expect(made).toBeLessThan(least * 1.5)
    }
  })

  test('are orthonormal, and with what A has in them', () => {
    const [rows, width, count] = [21, 40, 6]
    const values = new Float32Array(rows * width)
    derive(3, 'matrix').fillNormal(values, 0, 1)
    const { left: p, right: q } = mainDirections(values, rows, width, count, null)
    for (let a = 0; a < count; a++) {
      for (let b = 0; b < count; b++) {
        let product = 0
        for (let row = 0; row < rows; row++) product += p[a * rows + row] * p[b * rows + row]
        expect(product).toBeCloseTo(a === b ? 1 : 0, 5)
      }
      for (let channel = 0; channel < width; channel++) {
        let share = 0
        for (let row = 0; row < rows; row++) share += p[a * rows + row] * values[row * width + channel]
        expect(q[a * width + channel]).toBeCloseTo(share, 4)
      }
    }
  })

  test('leave nothing of a matrix of that rank, whatever its shape, and of none is none', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.nat(3), fc.nat(), (rows, width, rank, seed) => {
        const random = derive(seed, 'factors')
        const [p, q] = [new Float32Array(rank * rows), new Float32Array(rank * width)]
        random.fillNormal(p, 0, 1)
        random.fillNormal(q, 0, 1)
        const values = new Float32Array(rows * width)
        multiplyFactors(p, q, rank, rows, width, values)
        const count = Math.min(Math.max(1, rank), rows, width)
        const factors = mainDirections(values, rows, width, count, random)
        expect(left(values, rows, width, factors)).toBeLessThan(1e-8)
        expect(mainDirections(values, rows, width, 1, null).left.every(Number.isFinite)).toBe(true)
      }),
    )
  })

  test('that one fold hides the next one shows', () => {
    // Two channels that a fold adds up: with opposite signs, nothing would be left of equal ones.
    const [rows, width] = [8, 32]
    const values = new Float32Array(rows * width)
    for (let row = 0; row < rows; row++) values[row * width + 3] = values[row * width + 3 + width / 2] = row + 1
    const whole = values.reduce((sum, value) => sum + value * value, 0)
    const random = derive(5, 'signs')
    const remaining = Array.from({ length: 20 }, () => left(values, rows, width, mainDirections(values, rows, width, 2, random)) / whole)
    expect(remaining.some((share) => share > 0.9)).toBe(true)
    expect(remaining.some((share) => share < 1e-6)).toBe(true)
  })
})

test('a product of factors is the sum of outer products, whatever the shape', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 1, max: 11 }),
      fc.integer({ min: 1, max: 11 }),
      fc.nat(),
      (count, rows, width, seed) => {
        const [p, q] = [new Float32Array(count * rows), new Float32Array(count * width)]
        derive(seed, 'p').fillNormal(p, 0, 1)
        derive(seed, 'q').fillNormal(q, 0, 1)
        const out = new Float32Array(rows * width).fill(9)
        multiplyFactors(p, q, count, rows, width, out)
        for (let row = 0; row < rows; row++)
          for (let channel = 0; channel < width; channel++) {
            let sum = 0
            for (let k = 0; k < count; k++) sum += p[k * rows + row] * q[k * width + channel]
            expect(out[row * width + channel]).toBeCloseTo(sum, 4)
          }
      },
    ),
  )
})
