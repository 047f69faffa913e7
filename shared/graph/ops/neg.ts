/**
 * @file Negation.
 */
import { defineOp } from '../graph.js'

/** y = -x. x: f32 [...], any shape. y: the same shape. */
export const neg = defineOp({
  name: 'neg',
  inputs: ['x'],
  cost: 'cheap',
  infer: ({ x }) => x,
  vjp: ({ grad }) => ({ x: grad.neg() }),
  reference: ({ x }) => x.map((v) => -v),
})
