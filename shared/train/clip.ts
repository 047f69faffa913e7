/**
 * @file Clipping of gradients by their common norm.
 */
import type { NamedTensors } from '../tensor.js'

/** Keeps the factor finite for gradients that are all zero, as PyTorch does. */
const EPSILON = 1e-6

/**
 * Scales all gradients in place by min(1, maxNorm / (norm + 1e-6)), where norm is the l2 norm of all of them together.
 *
 * @param maxNorm 0: nothing is scaled.
 * @returns the norm before; not a number when a gradient is not.
 * Source: torch 2.13, torch.nn.utils.clip_grad_norm_.
 */
export function clipGradients(grads: NamedTensors, maxNorm: number): number {
  let squares = 0
  for (const { data } of grads.values()) for (let index = 0; index < data.length; index++) squares += data[index] * data[index]
  const norm = Math.sqrt(squares)
  if (maxNorm > 0) {
    const factor = maxNorm / (norm + EPSILON)
    if (factor < 1) for (const { data } of grads.values()) for (let index = 0; index < data.length; index++) data[index] *= factor
  }
  return norm
}
