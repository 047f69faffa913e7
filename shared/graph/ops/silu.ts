/**
 * @file SiLU (also called swish), the gate of Llama's feed-forward layers.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

/**
 * y = x sigmoid(x). x: f32 [...], any shape. y: the same shape.
 * Source: Elfwing et al. 2018, arXiv:1702.03118, section 2.
 */
export const silu = defineOp({
  name: 'silu',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('silu', inputs),
  vjp: ({ x, grad }) => ({ x: x.builder.apply('silu_grad', [x, grad])[0] }),
  reference: ({ x }) => x.map((v) => v * sigmoid(v)),
})
