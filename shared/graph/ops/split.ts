/**
 * @file Equal parts along an axis.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { NdArray, stridesOf } from '../ndarray.js'
import { expectAxis, expectSpec } from '../rules.js'

/** `count` outputs, each 1/count of x along `axis`. x: f32 [...], that axis an integer which `count` divides. */
export const split = defineOp<'x', never, { axis: number; count: number }>({
  name: 'split',
  inputs: ['x'],
  cost: 'cheap',
  infer({ x }, { axis, count }) {
    expectSpec('split: x', x, 'f32')
    expectAxis('split', axis, x.shape.length)
    const size = x.shape[axis]
    if (typeof size !== 'number' || !(count >= 1) || size % count !== 0)
      return unreachable(`split: cannot cut an axis of ${size} in ${count}`)
    return Array.from({ length: count }, () => ({ dtype: 'f32' as const, shape: x.shape.with(axis, size / count) }))
  },
  vjp({ grads, outs }, { axis }) {
    const [first, ...rest] = grads.map((grad, part) => grad ?? outs[part].builder.constant(0).broadcastTo(outs[part].shape))
    return { x: first.concat(rest, axis) }
  },
  reference({ x }, { axis, count }, shapes) {
    const inner = stridesOf(x.shape)[axis] * (x.shape[axis] / count)
    return shapes.map((shape, part) => {
      const out = NdArray.zeros(shape)
      for (let at = 0, from = part * inner; at < out.data.length; at += inner, from += inner * count)
        out.data.set(x.data.subarray(from, from + inner), at)
      return out
    })
  },
})
