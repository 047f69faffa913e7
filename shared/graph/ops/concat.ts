/**
 * @file Two arrays, or three, joined along an axis.
 */
import { dimSum } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray, stridesOf } from '../ndarray.js'
import { expectAxis, expectShape, expectSpec } from '../rules.js'

/** y = a, then b, then c along `axis`; their other axes agree. a, b, c: f32 [...]. */
export const concat = defineOp<'a' | 'b', 'c', { axis: number }>({
  name: 'concat',
  inputs: ['a', 'b'],
  optional: ['c'],
  cost: 'cheap',
  infer({ a, b, c }, { axis }) {
    const parts = [a, b, ...(c ? [c] : [])]
    expectAxis('concat', axis, a.shape.length)
    for (const part of parts) {
      expectSpec('concat: each part', part, 'f32', a.shape.length)
      expectShape('concat: each part', part, a.shape.with(axis, part.shape[axis]))
    }
    return { dtype: 'f32', shape: a.shape.with(axis, dimSum(parts.map(({ shape }) => shape[axis]))) }
  },
  vjp({ a, b, c, grad }, { axis }) {
    const parts = c ? [a, b, c] : [a, b]
    const slices = grad.builder.apply('slice_like', [grad, ...parts], { axis })
    return { a: slices[0], b: slices[1], ...(c ? { c: slices[2] } : {}) }
  },
  reference({ a, b, c }, { axis }, [shape]) {
    const out = NdArray.zeros(shape)
    const width = stridesOf(shape)[axis] * shape[axis]
    let before = 0
    for (const part of c ? [a, b, c] : [a, b]) {
      const inner = stridesOf(part.shape)[axis] * part.shape[axis]
      for (let from = 0, to = before; from < part.data.length; from += inner, to += width)
        out.data.set(part.data.subarray(from, from + inner), to)
      before += inner
    }
    return out
  },
})
