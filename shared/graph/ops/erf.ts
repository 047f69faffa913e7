/**
 * @file Gauss error function, of which the exact GELU is made.
 */
import { defineOp } from '../graph.js'
import { elementwise } from '../rules.js'

const SLOPE = 2 / Math.sqrt(Math.PI)

/** y = erf x. x: f32 [...], any shape. y: the same shape. dy/dx = 2/sqrt(pi) exp(-x^2). */
export const erf = defineOp({
  name: 'erf',
  inputs: ['x'],
  cost: 'cheap',
  infer: (inputs) => elementwise('erf', inputs),
  vjp: ({ x, grad }) => ({ x: grad.mul(x.square().neg().exp().mul(SLOPE)) }),
  reference: ({ x }) => x.map(erfExact),
})

/**
 * erf to about 1e-15: its Taylor series up to |x| = 3, beyond it the continued fraction of erfc (Lentz's method).
 * Source: Abramowitz & Stegun 1964, 7.1.6 and 7.1.14.
 */
function erfExact(x: number): number {
  const size = Math.abs(x)
  if (size > 6) return Math.sign(x)
  if (size <= 3) {
    let term = x
    let sum = x
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1)
      sum += term
    }
    return SLOPE * Math.exp(-x * x) * sum
  }
  let fraction = 0
  for (let n = 60; n > 0; n--) fraction = n / 2 / (size + fraction)
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * (size + fraction)))
}
