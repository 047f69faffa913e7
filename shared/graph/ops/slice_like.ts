/**
 * @file Cuts an array into pieces as long as given arrays are: the gradient of `concat`.
 */
import { dimSum } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray, stridesOf } from '../ndarray.js'
import { expectAxis, expectShape, expectSpec } from '../rules.js'

/** Outputs: consecutive pieces of x along `axis`, shaped like a, b and c, whose numbers do not matter. x: f32 [...]. */
export const slice_like = defineOp<'x' | 'a' | 'b', 'c', { axis: number }>({
  name: 'slice_like',
  inputs: ['x', 'a', 'b'],
  optional: ['c'],
  cost: 'cheap',
  infer({ x, a, b, c }, { axis }) {
    const parts = [a, b, ...(c ? [c] : [])]
    expectSpec('slice_like: x', x, 'f32', a.shape.length)
    expectAxis('slice_like', axis, a.shape.length)
    for (const part of parts) expectShape('slice_like: each part', part, a.shape.with(axis, part.shape[axis]))
    expectShape('slice_like: x', x, a.shape.with(axis, dimSum(parts.map(({ shape }) => shape[axis]))))
    return parts.map(({ shape }) => ({ dtype: 'f32' as const, shape }))
  },
  vjp({ grads, outs }, { axis }) {
    const [first, ...rest] = grads.map((grad, part) => grad ?? outs[part].builder.constant(0).broadcastTo(outs[part].shape))
    return { x: first.concat(rest, axis), a: null, b: null, c: null }
  },
  reference({ x }, { axis }, shapes) {
    const width = stridesOf(x.shape)[axis] * x.shape[axis]
    let before = 0
    return shapes.map((shape) => {
      const out = NdArray.zeros(shape)
      const inner = stridesOf(shape)[axis] * shape[axis]
      for (let to = 0, from = before; to < out.data.length; to += inner, from += width)
        out.data.set(x.data.subarray(from, from + inner), to)
      before += inner
      return out
    })
  },
})
