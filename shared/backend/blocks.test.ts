import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { derive } from '../random.js'
import { BLOCK, blockBytes, blocksIn, dequantize, MatrixQuantizer, type Direction, type QuantizedMatrix } from './blocks.js'

const DIRECTIONS: readonly Direction[] = ['rows', 'columns']

function numbersOf(rows: number, columns: number, seed = 1): Float32Array {
  const numbers = new Float32Array(rows * columns)
  derive(seed, 'blocks').fillNormal(numbers, 0, 1)
  return numbers
}

function quantize(numbers: Float32Array, rows: number, columns: number, primary: Direction) {
  const quantizer = new MatrixQuantizer(rows, columns, primary)
  quantizer.add(numbers)
  return quantizer.finish()
}

/** Bytes as text: quick to compare. */
function printed({ rows, columns }: QuantizedMatrix<Uint8Array>): string {
  return [rows.codes, rows.scales, columns.codes, columns.scales].map((bytes) => Buffer.from(bytes).toString('latin1')).join('|')
}

/** Largest magnitude of the block that each number is in. */
function largestInBlock(numbers: Float32Array, columns: number, direction: Direction): number[] {
  const largest = new Map<string, number>()
  const blocks = [...numbers].map((x, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    const block = direction === 'rows' ? `${row} ${Math.floor(column / BLOCK)}` : `${column} ${Math.floor(row / BLOCK)}`
    largest.set(block, Math.max(largest.get(block) ?? 0, Math.abs(x)))
    return block
  })
  return blocks.map((block) => largest.get(block)!)
}

const size = fc.oneof(fc.integer({ min: 1, max: 150 }), fc.constantFrom(BLOCK, 2 * BLOCK))
const sizes = fc.tuple(size, size)

describe.each(DIRECTIONS)('primary blocks along %s', (primary) => {
  const other = primary === 'rows' ? 'columns' : 'rows'

  test('miss a number by no more than half a step of its block', () => {
    fc.assert(
      fc.property(sizes, fc.integer(), ([rows, columns], seed) => {
        const numbers = numbersOf(rows, columns, seed)
        const stand = dequantize(quantize(numbers, rows, columns, primary)[primary], [rows, columns], primary)
        const largest = largestInBlock(numbers, columns, primary)
        const worst = numbers.reduce((most, x, i) => Math.max(most, (Math.abs(x - stand[i]) * 127) / largest[i]), 0)
        expect(worst).toBeLessThanOrEqual(0.50001)
      }),
      { numRuns: 15 },
    )
  })

  test.each([
    [150, 260],
    [256, 256],
  ])('are what the blocks along the other axis are made of, [%i, %i]', (rows, columns) => {
    const matrix = quantize(numbersOf(rows, columns), rows, columns, primary)
    const stand = dequantize(matrix[primary], [rows, columns], primary)
    const made = { ...matrix, [other]: quantize(stand, rows, columns, other)[other] }
    expect(printed(made) === printed(matrix)).toBe(true)
    // Codes of what codes stand for are the same codes.
    const again = { ...matrix, [primary]: { ...matrix[primary], codes: quantize(stand, rows, columns, primary)[primary].codes } }
    expect(printed(again) === printed(matrix)).toBe(true)
  })

  test('are the same however the numbers come', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 20 }), (pieces) => {
        const [rows, columns] = [131, 57]
        const numbers = numbersOf(rows, columns)
        const quantizer = new MatrixQuantizer(rows, columns, primary)
        for (let from = 0, piece = 0; from < numbers.length; piece++) {
          const size = pieces[piece % pieces.length]
          quantizer.add(numbers.subarray(from, from + size))
          from += size
        }
        expect(printed(quantizer.finish()) === printed(quantize(numbers, rows, columns, primary))).toBe(true)
      }),
      { numRuns: 10 },
    )
  })

  test('are filled up with zeros, and have the sizes that are told', () => {
    const matrix = quantize(numbersOf(3, 130), 3, 130, primary)
    expect([blocksIn(1), blocksIn(128), blocksIn(129)]).toEqual([1, 1, 2])
    const sizesOf = { rows: blockBytes(3, 130), columns: blockBytes(130, 3) }
    for (const direction of DIRECTIONS) {
      expect(matrix[direction].codes).toHaveLength(sizesOf[direction].codes)
      expect(matrix[direction].scales).toHaveLength(sizesOf[direction].scales)
    }
    expect(matrix.rows.codes.subarray(130, 256)).toEqual(new Uint8Array(126).fill(128))
  })

  test('stand for zeros as zeros, and never hide a number that is none', () => {
    const zeros = quantize(new Float32Array(300), 3, 100, primary)
    expect(dequantize(zeros[primary], [3, 100], primary)).toEqual(new Float32Array(300))
    for (const broken of [NaN, Infinity, -Infinity]) {
      const numbers = numbersOf(3, 100)
      numbers[150] = broken
      const stand = dequantize(quantize(numbers, 3, 100, primary)[primary], [3, 100], primary)
      expect(Number.isFinite(stand[150]), String(broken)).toBe(false)
    }
  })
})

test('too few numbers are a bug', () => {
  const quantizer = new MatrixQuantizer(3, 4, 'rows')
  quantizer.add(new Float32Array(8))
  expect(() => quantizer.finish()).toThrow('2 of 3 rows')
})
