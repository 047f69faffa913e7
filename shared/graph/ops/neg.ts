/**
 * @file Negation.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = -x. x: f32 [...], any shape. y: the same shape. */
export const neg = defineOp({
  name: 'neg',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('neg', inputs),
  vjp: ({ grad }) => ({ x: grad.neg() }),
  reference: ({ x }) => x.map((v) => -v),
})
