/**
 * @file Matrix product with an addend: linear layers, their gradients, and LoRA's update of them.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { product } from './matmul.js'

/**
 * y = A B + add, with A^T or B^T where asked. `add` broadcasts to y, as a bias [n] does.
 * a: f32 [m, k] (or [k, m] if transposeA). b: f32 [k, n] (or [n, k]). add: f32 [m, n], [n] or [1]. y: f32 [m, n].
 */
export const gemm = defineOp<'a' | 'b', 'add', { transposeA: boolean; transposeB: boolean }>({
  name: 'gemm',
  inputs: ['a', 'b'],
  optional: ['add'],
  cost: 'heavy',
  infer({ a, b }, { transposeA, transposeB }) {
    const [m, k] = transposeA ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!]
    const [k2, n] = transposeB ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!]
    if (a.shape.length !== 2 || b.shape.length !== 2 || k !== k2)
      return unreachable(`cannot multiply [${a.shape.join(', ')}] by [${b.shape.join(', ')}]`)
    return { dtype: 'f32', shape: [m, n] }
  },
  // A transposed weight's product is asked for by a flag, never by a transpose: see ARCHITECTURE.md on memory.
  vjp: ({ a, b, add, grad }, { transposeA, transposeB }) => ({
    a: transposeA ? b.gemm(grad, { transposeA: transposeB, transposeB: true }) : grad.gemm(b, { transposeB: !transposeB }),
    b: transposeB ? grad.gemm(a, { transposeA: true, transposeB: transposeA }) : a.gemm(grad, { transposeA: !transposeA }),
    add: add && grad.sumTo(add.shape),
  }),
  reference({ a, b, add }, { transposeA, transposeB }, [shape]) {
    const y = product(a, b, transposeA, transposeB, shape!)
    return add ? y.zip(add, (x, c) => x + c) : y
  },
})
