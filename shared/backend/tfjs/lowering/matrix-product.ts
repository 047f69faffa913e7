/**
 * @file Matrix products, by what each back end is fast at.
 */
import type { Kernels, Tf, TfTensor } from '../kernels.js'

/**
 * A B over the last two axes, A^T or B^T where asked; the axes before are the same in both.
 * @param a f32 [..., m, k], or [..., k, m]
 * @param b f32 [..., k, n], or [..., n, k]
 * @returns f32 [..., m, n]
 */
export function product(kernels: Kernels, a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean): TfTensor {
  const { kind, tf } = kernels
  // A transposed operand is a flag of the product, never a transposed copy.
  if (kind !== 'wasm') return tf.matMul(a, b, transposeA, transposeB)
  return productOnWasm(tf, a, b, transposeA, transposeB)
}

/** A matrix beyond this is not copied to be transposed; that depends on the weight alone, so that no row's bits depend on the others. */
const LARGE = 2 ** 16

/** Its fast kernel takes two plain matrices; products with transposed ones, or of several at once, run at a fifteenth of its speed. */
function productOnWasm(tf: Tf, a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean): TfTensor {
  // A B^T = (B A^T)^T
  if (a.rank === 2 && transposeB && b.size > LARGE) return tf.transpose(tf.matMul(b, transposeA ? a : tf.transpose(a)))
  const [left, right] = [transposeA ? swapped(tf, a) : a, transposeB ? swapped(tf, b) : b]
  if (a.rank === 2) return tf.matMul(left, right)
  const lead = left.shape.slice(0, -2)
  const [m, k, n] = [...left.shape.slice(-2), right.shape.at(-1)!] as [number, number, number]
  const count = lead.reduce((total, size) => total * size, 1)
  // Cut here, because its slices read the whole array each.
  const [leftNumbers, rightNumbers] = [left.dataSync(), right.dataSync()]
  const products = Array.from({ length: count }, (_, i) =>
    tf.matMul(
      tf.tensor(leftNumbers.subarray(i * m * k, (i + 1) * m * k), [m, k]),
      tf.tensor(rightNumbers.subarray(i * k * n, (i + 1) * k * n), [k, n]),
    ),
  )
  return tf.reshape(tf.concat(products, 0), [...lead, m, n])
}

function swapped(tf: Tf, x: TfTensor): TfTensor {
  const axes = x.shape.map((_, axis) => axis)
  return tf.transpose(x, [...axes.slice(0, -2), x.rank - 1, x.rank - 2])
}
