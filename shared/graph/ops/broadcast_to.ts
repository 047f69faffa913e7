/**
 * @file Repeat along axes of 1 and new leading axes until the shape is the wanted one.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectSpec, expectStretches } from '../rules.js'

/** x: f32 [...], a shape that broadcasts to `shape`. y: f32 `shape`. */
export const broadcast_to = defineOp<'x', never, { shape: readonly Dim[] }>({
  name: 'broadcast_to',
  inputs: ['x'],
  cost: 'cheap',
  infer({ x }, { shape }) {
    expectStretches('broadcast_to', expectSpec('broadcast_to: x', x, 'f32').shape, shape)
    return { dtype: 'f32', shape }
  },
  vjp: ({ x, grad }) => ({ x: grad.sumTo(x.shape) }),
  reference: ({ x }, _, [shape]) => x.zip(NdArray.zeros(shape), (v) => v),
})
