/**
 * @file Indicator of positive numbers: the slope of the rectifier.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** y = 1 where x > 0, else 0. x: f32 [...], any shape. y: the same shape. Flat wherever it is differentiable, so no gradient. */
export const positive = defineOp({
  name: 'positive',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('positive', inputs),
  vjp: () => ({ x: null }),
  reference: ({ x }) => x.map((v) => (v > 0 ? 1 : 0)),
})
