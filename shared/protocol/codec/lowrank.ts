/**
 * @file `lowrank`: of rows that both ends hold, the change as two factors of few directions. Source: SplitLite (arXiv 2608.23018).
 *
 * D [T, width] becomes P, its main directions, and Q = D^T P, and both ends add what P Q^T gives once both were packed and unpacked. They are packed
 * direction by direction, so that each has scales of its own: shares of the directions differ by orders of magnitude. Where factors would take more bytes
 * than the change itself, the change is sent, as `delta` does.
 *
 * Bytes: all rows that are sent as numbers, then of each other row P^T [rank, T] and Q^T [rank, width].
 */
import { invalid, joined, type Codec, type CodecContext } from './codec.js'
import { addBefore, changesOf, eachRow, gathered, tokensOf, type ChangeCodec, type KnownRow } from './history.js'
import { mainDirections, multiplyFactors } from './directions.js'

/** @param numbers of fixed length */
export function lowrankCodec(rank: number, numbers: Codec): ChangeCodec {
  const factorsOf = ({ tokens }: KnownRow, width: number) => {
    const count = Math.min(rank, tokens, width)
    const [left, right] = [
      [count, tokens],
      [count, width],
    ]
    const leftBytes = numbers.byteLength(left)
    return { count, left, right, leftBytes, bytes: leftBytes + numbers.byteLength(right) }
  }
  const isFactored = (row: KnownRow, width: number): boolean =>
    row.before !== null && factorsOf(row, width).bytes < numbers.byteLength([row.tokens, width])
  const plainShape = (rows: readonly KnownRow[], width: number): number[] => [
    tokensOf(rows.filter((row) => !isFactored(row, width))),
    width,
  ]
  const byteLength = (rows: readonly KnownRow[], width: number): number =>
    rows.reduce((sum, row) => sum + (isFactored(row, width) ? factorsOf(row, width).bytes : 0), numbers.byteLength(plainShape(rows, width)))
  const encodeFactors = (change: Float32Array, row: KnownRow, width: number, context: CodecContext): Uint8Array[] => {
    const { count, left, right } = factorsOf(row, width)
    const factors = mainDirections(change, row.tokens, width, count, context.random)
    return [numbers.encode(factors.left, left, context), numbers.encode(factors.right, right, context)]
  }

  return {
    byteLength,
    encode(values, rows, width, context) {
      const changes = changesOf(values, rows, width)
      const plain = gathered(changes, rows, width, (row) => !isFactored(row, width))
      const parts: Uint8Array[] = [numbers.encode(plain.values, plain.shape, context)]
      for (const { row, own } of eachRow(changes, rows, width))
        if (isFactored(row, width)) parts.push(...encodeFactors(own, row, width, context))
      return joined(parts)
    },
    decode(bytes, rows, width) {
      const length = byteLength(rows, width)
      if (bytes.length !== length) throw invalid(`it has ${bytes.length} bytes, and rows like these take ${length}`)
      const shape = plainShape(rows, width)
      const plain = numbers.decode(bytes.subarray(0, numbers.byteLength(shape)), shape)
      const changes = new Float32Array(tokensOf(rows) * width)
      let [at, byte] = [0, numbers.byteLength(shape)]
      for (const { row, own } of eachRow(changes, rows, width)) {
        if (isFactored(row, width)) {
          const { count, left, right, leftBytes, bytes: ownBytes } = factorsOf(row, width)
          const p = numbers.decode(bytes.subarray(byte, byte + leftBytes), left)
          const q = numbers.decode(bytes.subarray(byte + leftBytes, byte + ownBytes), right)
          multiplyFactors(p, q, count, row.tokens, width, own)
          byte += ownBytes
        } else own.set(plain.subarray(at, (at += own.length)))
      }
      return addBefore(changes, rows, width)
    },
  }
}
