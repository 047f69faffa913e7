/**
 * @file Rectifier.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = max(x, 0). The gradient at 0 is 0, as in PyTorch. x: f32 [...], any shape. y: the same shape. */
export const relu = defineOp({
  name: 'relu',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('relu', inputs),
  vjp: ({ x, grad }) => ({ x: grad.mul(x.positive()) }),
  reference: ({ x }) => x.map((v) => Math.max(v, 0)),
})
