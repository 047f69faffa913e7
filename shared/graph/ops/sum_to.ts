/**
 * @file Sum down to a shape that broadcasts to the input's: the gradient of broadcasting.
 */
import type { Dim } from '../dims.js'
import { defineOp } from '../graph.js'
import { expectSpec, expectStretches } from '../rules.js'

/** y = x summed over its leading extra axes and over the axes where `shape` has 1. x: f32 [...]. y: f32 `shape`. */
export const sum_to = defineOp<'x', never, { shape: readonly Dim[] }>({
  name: 'sum_to',
  inputs: ['x'],
  cost: 'cheap',
  infer({ x }, { shape }) {
    expectStretches('sum_to', shape, expectSpec('sum_to: x', x, 'f32').shape)
    return { dtype: 'f32', shape }
  },
  vjp: ({ x, grad }) => ({ x: grad.broadcastTo(x.shape) }),
  reference: ({ x }, _, [shape]) => x.sumTo(shape),
})
