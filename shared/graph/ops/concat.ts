/**
 * @file Two arrays, or three, joined along an axis.
 */
import { dimSum } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray, stridesOf } from '../ndarray.js'

/** y = a, then b, then c along `axis`; their other axes agree. a, b, c: f32 [...]. */
export const concat = defineOp<'a' | 'b', 'c', { axis: number }>({
  name: 'concat',
  inputs: ['a', 'b'],
  optional: ['c'],
  cost: 'cheap',
  infer({ a, b, c }, { axis }) {
    const joined = dimSum([a, b, ...(c ? [c] : [])].map(({ shape }) => shape[axis]!))
    return { dtype: a.dtype, shape: a.shape.map((dim, at) => (at === axis ? joined : dim)) }
  },
  vjp({ a, b, c, grad }, { axis }) {
    const parts = c ? [a, b, c] : [a, b]
    const slices = grad.builder.apply('slice_like', [grad, ...parts], { axis })
    return { a: slices[0]!, b: slices[1]!, ...(c ? { c: slices[2]! } : {}) }
  },
  reference({ a, b, c }, { axis }, [shape]) {
    const out = NdArray.zeros(shape!)
    const width = stridesOf(shape!)[axis]! * shape![axis]!
    let before = 0
    for (const part of c ? [a, b, c] : [a, b]) {
      const inner = stridesOf(part.shape)[axis]! * part.shape[axis]!
      for (let from = 0, to = before; from < part.data.length; from += inner, to += width)
        out.data.set(part.data.subarray(from, from + inner), to)
      before += inner
    }
    return out
  },
})
