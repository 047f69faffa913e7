/**
 * @file Weights in 8-bit blocks: 128 numbers that follow each other share a scale. Number = (code - 128) * scale, where the scale is the
 * block's largest magnitude / 127.
 *
 * A matrix is kept twice, since a product reads blocks along the axis that it sums over: in blocks along its rows for x W^T, and along its
 * columns for x W. One of the two, the primary, is made of the numbers themselves and says what the weight now is; the other is made of what
 * the primary stands for, so that forward and backward see one weight, as nearly as codes allow.
 */
import { unreachable } from '../errors.js'

/** Numbers that share a scale. */
export const BLOCK = 128
/** The code of 0. */
const ZERO = 128
const STEPS = 127

/** A matrix [n, k] in blocks along k. `codes`: u8 [n, ceil(k / 128), 128], filled up with the code of 0. `scales`: f32 [n, ceil(k / 128)]. */
export interface Blocks<Content> {
  readonly codes: Content
  readonly scales: Content
}

/** A weight [rows, columns]. */
export interface QuantizedMatrix<Content> {
  /** Blocks along each row: n = rows, k = columns. */
  readonly rows: Blocks<Content>
  /** Blocks along each column: n = columns, k = rows. */
  readonly columns: Blocks<Content>
}

export type Direction = keyof QuantizedMatrix<unknown>

/** Blocks of a line of `length` numbers. */
export function blocksIn(length: number): number {
  return Math.ceil(length / BLOCK)
}

/** Bytes of the codes and of the scales of `lines` lines of `length` numbers. */
export function blockBytes(lines: number, length: number): Blocks<number> {
  return { codes: lines * blocksIn(length) * BLOCK, scales: lines * blocksIn(length) * 4 }
}

/** Takes a matrix row by row, and holds no more than 128 rows of it as floats. */
export class MatrixQuantizer {
  private readonly result: Readonly<Record<Direction, Lines>>
  private readonly chunk: Float32Array
  private filled = 0
  private doneRows = 0

  /** @param primary the direction whose blocks are made of the numbers that are given */
  constructor(
    private readonly rows: number,
    private readonly columns: number,
    private readonly primary: Direction,
  ) {
    this.result = { rows: new Lines(rows, columns), columns: new Lines(columns, rows) }
    this.chunk = new Float32Array(Math.min(BLOCK, rows) * columns)
  }

  /** @param numbers the next of the matrix, row-major; any number of them */
  add(numbers: Float32Array): void {
    for (let taken = 0; taken < numbers.length;) {
      const count = Math.min(numbers.length - taken, this.chunk.length - this.filled)
      this.chunk.set(numbers.subarray(taken, taken + count), this.filled)
      this.filled += count
      taken += count
      if (this.filled === this.chunk.length) this.encodeChunk()
    }
  }

  finish(): QuantizedMatrix<Uint8Array> {
    if (this.filled > 0) this.encodeChunk()
    if (this.doneRows !== this.rows) unreachable(`${this.doneRows} of ${this.rows} rows were given`)
    return { rows: this.result.rows.bytes(), columns: this.result.columns.bytes() }
  }

  private encodeChunk(): void {
    const rows = this.filled / this.columns
    const encode = { rows: () => this.encodeRows(rows), columns: () => this.encodeColumns(rows) }
    encode[this.primary]()
    encode[this.primary === 'rows' ? 'columns' : 'rows']()
    this.doneRows += rows
    this.filled = 0
  }

  private encodeRows(rows: number): void {
    const { columns } = this
    for (let row = 0; row < rows; row++)
      for (let block = 0; block < blocksIn(columns); block++) {
        const from = row * columns + block * BLOCK
        this.encodeBlock(this.result.rows, this.doneRows + row, block, from, 1, Math.min(BLOCK, columns - block * BLOCK))
      }
  }

  private encodeColumns(rows: number): void {
    const block = this.doneRows / BLOCK
    for (let column = 0; column < this.columns; column++) this.encodeBlock(this.result.columns, column, block, column, this.columns, rows)
  }

  /** Encodes `count` numbers of the chunk, and puts in their place what the codes stand for. */
  private encodeBlock(lines: Lines, line: number, block: number, from: number, stride: number, count: number): void {
    const { chunk } = this
    let largest = 0
    for (let i = 0, at = from; i < count; i++, at += stride) largest = Math.max(largest, Math.abs(chunk[at]))
    const scale = Math.fround(largest / STEPS)
    const place = line * blocksIn(lines.length) + block
    lines.scales[place] = scale
    // Of a block of zeros, or of numbers too small for a scale, every code is that of 0.
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = 0, at = from; i < count; i++, at += stride) {
      const step = Math.max(-STEPS, Math.min(STEPS, Math.round(chunk[at] * inverse)))
      lines.codes[place * BLOCK + i] = step + ZERO
      chunk[at] = step * scale
    }
  }
}

class Lines {
  readonly codes: Uint8Array
  readonly scales: Float32Array

  constructor(
    lines: number,
    readonly length: number,
  ) {
    const { codes, scales } = blockBytes(lines, length)
    this.codes = new Uint8Array(codes).fill(ZERO)
    this.scales = new Float32Array(scales / 4)
  }

  bytes(): Blocks<Uint8Array> {
    return { codes: this.codes, scales: new Uint8Array(this.scales.buffer) }
  }
}

/**
 * What the blocks of one direction stand for.
 * @param blocks of a matrix of `shape`, along its rows or columns
 * @returns f32 of that shape, row-major
 */
export function dequantize({ codes, scales }: Blocks<Uint8Array>, [rows, columns]: readonly number[], direction: Direction): Float32Array {
  const length = direction === 'rows' ? columns : rows
  const lines = direction === 'rows' ? rows : columns
  const [lineStride, stride] = direction === 'rows' ? [columns, 1] : [1, columns]
  const steps = new Float32Array(scales.slice().buffer)
  const numbers = new Float32Array(rows * columns)
  for (let line = 0; line < lines; line++)
    for (let i = 0; i < length; i++) {
      const block = line * blocksIn(length) + Math.floor(i / BLOCK)
      numbers[line * lineStride + i * stride] = (codes[block * BLOCK + (i % BLOCK)] - ZERO) * steps[block]
    }
  return numbers
}

/** The same matrix with other contents in the place of its four. */
export function mapMatrix<From, To>({ rows, columns }: QuantizedMatrix<From>, map: (content: From) => To): QuantizedMatrix<To> {
  const mapped = ({ codes, scales }: Blocks<From>): Blocks<To> => ({ codes: map(codes), scales: map(scales) })
  return { rows: mapped(rows), columns: mapped(columns) }
}
