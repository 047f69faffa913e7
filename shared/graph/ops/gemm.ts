/**
 * @file Matrix product with an addend: linear layers, their gradients, and LoRA's update of them.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { expectSpec, expectStretches } from '../rules.js'
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
  infer({ a, b, add }, { transposeA, transposeB }) {
    expectSpec('gemm: a', a, 'f32', 2)
    expectSpec('gemm: b', b, 'f32', 2)
    const [m, k] = transposeA ? [a.shape[1], a.shape[0]] : [a.shape[0], a.shape[1]]
    const [k2, n] = transposeB ? [b.shape[1], b.shape[0]] : [b.shape[0], b.shape[1]]
    if (k !== k2) return unreachable(`gemm: cannot multiply [${a.shape.join(', ')}] by [${b.shape.join(', ')}]`)
    if (add) expectStretches('gemm: add', expectSpec('gemm: add', add, 'f32').shape, [m, n])
    return { dtype: 'f32', shape: [m, n] }
  },
  // A transposed weight's product is asked for by a flag, never by a transpose: see ARCHITECTURE.md on memory.
  vjp: ({ a, b, add, grad }, { transposeA, transposeB }) => ({
    a: transposeA ? b.gemm(grad, { transposeA: transposeB, transposeB: true }) : grad.gemm(b, { transposeB: !transposeB }),
    b: transposeB ? grad.gemm(a, { transposeA: true, transposeB: transposeA }) : a.gemm(grad, { transposeA: !transposeA }),
    add: add && grad.sumTo(add.shape),
  }),
  reference({ a, b, add }, { transposeA, transposeB }, [shape]) {
    const y = product(a, b, transposeA, transposeB, shape)
    return add ? y.zip(add, (x, c) => x + c) : y
  },
})
