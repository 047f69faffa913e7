/**
 * @file Natural logarithm.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = ln x, x > 0. x: f32 [...], any shape. y: the same shape. */
export const log = defineOp({
  name: 'log',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('log', inputs),
  vjp: ({ x, grad }) => ({ x: grad.div(x) }),
  reference: ({ x }) => x.map(Math.log),
})
