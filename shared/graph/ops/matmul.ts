/**
 * @file Batched matrix product.
 */
import { unreachable } from '../../errors.js'
import { sameShape } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectSpec } from '../rules.js'

/**
 * y = A B for every leading index, with A^T or B^T where asked. The leading axes of a and b are the same.
 * a: f32 [..., m, k] (or [..., k, m] if transposeA). b: f32 [..., k, n] (or [..., n, k]). y: f32 [..., m, n].
 */
export const matmul = defineOp<'a' | 'b', never, { transposeA: boolean; transposeB: boolean }>({
  name: 'matmul',
  inputs: ['a', 'b'],
  cost: 'heavy',
  infer({ a, b }, { transposeA, transposeB }) {
    expectSpec('matmul: a', a, 'f32')
    expectSpec('matmul: b', b, 'f32', a.shape.length)
    if (a.shape.length < 2) return unreachable('matmul: a and b need two axes')
    const [m, k] = last2(a.shape, transposeA)
    const [k2, n] = last2(b.shape, transposeB)
    const lead = a.shape.slice(0, -2)
    if (k !== k2 || !sameShape(lead, b.shape.slice(0, -2)))
      return unreachable(`matmul: cannot multiply [${a.shape.join(', ')}] by [${b.shape.join(', ')}]`)
    return { dtype: 'f32', shape: [...lead, m, n] }
  },
  vjp: ({ a, b, grad }, { transposeA, transposeB }) => ({
    a: transposeA ? b.matmul(grad, { transposeA: transposeB, transposeB: true }) : grad.matmul(b, { transposeB: !transposeB }),
    b: transposeB ? grad.matmul(a, { transposeA: true, transposeB: transposeA }) : a.matmul(grad, { transposeA: !transposeA }),
  }),
  reference: ({ a, b }, { transposeA, transposeB }, [shape]) => product(a, b, transposeA, transposeB, shape),
})

function last2<T>(shape: readonly T[], transposed: boolean): [T, T] {
  const [rows, columns] = [shape[shape.length - 2], shape[shape.length - 1]]
  return transposed ? [columns, rows] : [rows, columns]
}

/** The kernel, for gemm too. `shape` is the result's. */
export function product(a: NdArray, b: NdArray, transposeA: boolean, transposeB: boolean, shape: readonly number[]): NdArray {
  const [m, k] = last2(a.shape, transposeA)
  const [, n] = last2(b.shape, transposeB)
  const out = NdArray.zeros(shape)
  const [aRow, aColumn] = transposeA ? [1, m] : [k, 1]
  const [bRow, bColumn] = transposeB ? [1, k] : [n, 1]
  const count = m * n === 0 ? 0 : out.data.length / (m * n)
  for (let batch = 0; batch < count; batch++)
    for (let i = 0; i < m; i++)
      for (let l = 0; l < k; l++) {
        const left = a.data[batch * m * k + i * aRow + l * aColumn]
        let from = batch * k * n + l * bRow
        for (let to = batch * m * n + i * n, end = to + n; to < end; to++, from += bColumn) out.data[to] += left * b.data[from]
      }
  return out
}
