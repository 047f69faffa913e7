/**
 * @file GELU in its tanh form: type rule, gradient and reference kernel.
 *
 * To add an op, copy this file and list it in `ops/index.ts`; the compiler then names each backend that does not lower it yet.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

/** Factors of the polynomial inside tanh, which every backend's gradient needs too. */
export const SCALE = Math.sqrt(2 / Math.PI)
export const CUBIC = 0.044715

/**
 * y = 0.5 x (1 + tanh u), where u = SCALE (x + CUBIC x^3). The form GPT-2 uses.
 * x: f32 [...], any shape. y: the same shape.
 * Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2.
 */
export const gelu = defineOp({
  name: 'gelu',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('gelu', inputs),
  vjp: ({ x, grad }) => ({ x: x.builder.apply('gelu_grad', [x, grad])[0] }),
  reference: ({ x }) => x.map((v) => 0.5 * v * (1 + Math.tanh(SCALE * (v + CUBIC * v ** 3)))),
})
