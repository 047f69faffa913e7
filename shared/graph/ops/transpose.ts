/**
 * @file Axes in another order.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { dot, NdArray, stridesOf, walk } from '../ndarray.js'

/** Axis i of y is axis `permutation[i]` of x. x: f32 [...]. */
export const transpose = defineOp<'x', never, { permutation: readonly number[] }>({
  name: 'transpose',
  inputs: ['x'],
  cost: 'cheap',
  infer({ x }, { permutation }) {
    if ([...permutation].sort((a, b) => a - b).join() !== x.shape.map((_, axis) => axis).join())
      unreachable(`${permutation.join()} does not permute ${x.shape.length} axes`)
    return { dtype: x.dtype, shape: permutation.map((axis) => x.shape[axis]) }
  },
  vjp: ({ grad }, { permutation }) => ({ x: grad.transpose(permutation.map((_, axis) => permutation.indexOf(axis))) }),
  reference({ x }, { permutation }, [shape]) {
    const out = NdArray.zeros(shape)
    const strides = stridesOf(x.shape)
    const permuted = permutation.map((axis) => strides[axis])
    walk(shape, (position, index) => {
      out.data[position] = x.data[dot(index, permuted)]!
    })
    return out
  },
})
