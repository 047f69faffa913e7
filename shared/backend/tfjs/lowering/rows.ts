/**
 * @file Ops that pick rows by index. The indices are read here first: not every kernel says when one leads out of the table.
 */
import type { Kernels, TfTensor } from '../kernels.js'
import type { Lowering } from './call.js'

export const gather: Lowering = ({ tf }, call) => {
  const [table, indices] = [call.input(0), call.input(1)]
  expectIndices('gather', indices, table.shape[0]!)
  return tf.gather(table, indices)
}

/**
 * Moves rows of an activation to new places.
 * @param table f32 [rows, size]
 * @param indices i32 [n], each in 0..rows-1
 * @returns f32 [n, size]
 */
export function moveRows({ kind, tf }: Kernels, table: TfTensor, indices: TfTensor): TfTensor {
  if (kind === 'native') return tf.gather(table, indices)
  // The kernel of WASM works each number's place out anew: 20 times as slow.
  const [from, places, size] = [table.dataSync() as Float32Array, indices.dataSync(), table.shape[1]!]
  const moved = new Float32Array(places.length * size)
  places.forEach((row, at) => moved.set(from.subarray(row * size, (row + 1) * size), at * size))
  return tf.tensor(moved, [places.length, size])
}

export const scatterRows: Lowering = ({ tf }, call) => {
  const [x, indices] = [call.input(0), call.input(1)]
  expectIndices('scatter_rows', indices, call.shape[0]!)
  return tf.scatterND(tf.reshape(indices, [indices.size, 1]), x, call.shape)
}

export function expectIndices(op: string, indices: TfTensor, rows: number): void {
  for (const index of indices.dataSync())
    if (!(index >= 0 && index < rows)) throw new Error(`${op}: index ${index} is not in 0..${rows - 1}`)
}
