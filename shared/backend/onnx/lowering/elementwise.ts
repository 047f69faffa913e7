/**
 * @file Ops that work number by number.
 */
import { CUBIC, SCALE } from '../../../graph/ops/gelu.js'
import type { Emitter } from '../emitter.js'
import type { Lowering } from './call.js'

/** An op that ONNX has under the same meaning, broadcasting included. */
export function direct(opType: string): Lowering {
  return (emit, call) => [emit.one(opType, call.names)]
}

/**
 * As a reduction over an axis of 1. The runtime's Log computes a vector's last few elements by another routine than the others, so that bits
 * depend on where an element stands and how threads share the work; its ReduceLogSum takes every logarithm alike.
 */
export function logarithm(emit: Emitter, x: string): string {
  const last = emit.integers([-1])
  return emit.one('ReduceLogSum', [emit.one('Unsqueeze', [x, last]), last], { attributes: { keepdims: { int: 0 } } })
}

export const log: Lowering = (emit, call) => [logarithm(emit, call.input(0).name)]

export const positive: Lowering = (emit, call) => {
  const above = emit.one('Greater', [call.input(0).name, emit.floats([0])])
  return [emit.one('Cast', [above], { attributes: { to: { int: 1 } } })]
}

export const gelu: Lowering = (emit, call) => [emit.one('Gelu', call.names, { attributes: { approximate: { text: 'tanh' } } })]

/**
 * With s = sigmoid(z), z = 2u: gelu(x) = x s, since (1 + tanh u) / 2 = sigmoid(2u). So the slope is s (1 + (1 - s) x z'), where
 * z = x (2 SCALE + 2 SCALE CUBIC x^2) and x z' = x (2 SCALE + 6 SCALE CUBIC x^2).
 */
export const geluGrad: Lowering = (emit, call) => {
  const x = call.input(0).name
  const square = emit.one('Mul', [x, x])
  const z = scaled(emit, x, square, 2 * SCALE, 2 * SCALE * CUBIC)
  const sigmoid = emit.one('Sigmoid', [z])
  const rest = emit.one('Sub', [emit.floats([1]), sigmoid])
  const bend = emit.one('Mul', [rest, scaled(emit, x, square, 2 * SCALE, 6 * SCALE * CUBIC)])
  const slope = emit.one('Mul', [sigmoid, emit.one('Add', [bend, emit.floats([1])])])
  return [emit.one('Mul', [slope, call.input(1).name])]
}

/** The runtime's QuickGelu is x sigmoid(alpha x), in one pass. */
export const silu: Lowering = (emit, call) => [emit.one('QuickGelu', call.names, { attributes: { alpha: { float: 1 } }, contrib: true })]

/** With y = x s, the slope s (1 + x (1 - s)) is s (1 - y) + y. */
export const siluGrad: Lowering = (emit, call) => {
  const x = call.input(0).name
  const sigmoid = emit.one('Sigmoid', [x])
  const y = emit.one('Mul', [x, sigmoid])
  const slope = emit.one('Add', [emit.one('Mul', [sigmoid, emit.one('Sub', [emit.floats([1]), y])]), y])
  return [emit.one('Mul', [slope, call.input(1).name])]
}

/** x (constant + factor square). */
function scaled(emit: Emitter, x: string, square: string, constant: number, factor: number): string {
  return emit.one('Mul', [x, emit.one('Add', [emit.one('Mul', [square, emit.floats([factor])]), emit.floats([constant])])])
}
