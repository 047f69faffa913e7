/**
 * @file Ops that work number by number.
 */
import { CUBIC, SCALE } from '../../../graph/ops/gelu.js'
import type { Kernels, Tf, TfTensor } from '../kernels.js'
import type { Lowering } from './call.js'

export function unary(name: 'neg' | 'exp' | 'erf' | 'tanh' | 'relu' | 'log' | 'sqrt'): Lowering {
  return (kernels, call) => byLanes(kernels, [call.input(0)], (x) => kernels.tf[name](x))
}

/** Broadcasting included. */
export function binary(name: 'add' | 'sub' | 'mul' | 'div'): Lowering {
  return ({ tf }, call) => tf[name](call.input(0), call.input(1))
}

export const positive: Lowering = ({ tf }, call) => tf.step(call.input(0))

/** x s, where s = sigmoid(2u): (1 + tanh u) / 2 is sigmoid(2u). */
export const gelu: Lowering = (kernels, call) =>
  byLanes(kernels, [call.input(0)], (x) => {
    const { tf } = kernels
    return tf.mul(x, tf.sigmoid(tf.mul(x, bend(tf, tf.square(x), CUBIC))))
  })

/** With s = sigmoid(z), z = 2u = x bend(CUBIC): the slope is s + x z' s (1 - s), where z' = bend(3 CUBIC). */
export const geluGrad: Lowering = (kernels, call) =>
  byLanes(kernels, [call.input(0), call.input(1)], (x, upstream) => {
    const { tf, tensorflow } = kernels
    const square = tf.square(x)
    const s = tf.sigmoid(tf.mul(x, bend(tf, square, CUBIC)))
    const along = tf.mul(x, bend(tf, square, 3 * CUBIC))
    // y (1 - y) dy
    const curve = tensorflow?.run('SigmoidGrad', [s, along], { T: { dtype: 'f32' } }, 1)[0] ?? tf.mul(tf.mul(along, s), tf.sub(1, s))
    return tf.mul(tf.add(s, curve), upstream)
  })

export const silu: Lowering = (kernels, call) => byLanes(kernels, [call.input(0)], (x) => kernels.tf.mul(x, kernels.tf.sigmoid(x)))

/** With y = x s, the slope s (1 + x (1 - s)) is s (1 - y) + y. */
export const siluGrad: Lowering = (kernels, call) =>
  byLanes(kernels, [call.input(0), call.input(1)], (x, upstream) => {
    const { tf } = kernels
    const s = tf.sigmoid(x)
    const y = tf.mul(x, s)
    return tf.mul(tf.add(tf.mul(s, tf.sub(1, y)), y), upstream)
  })

/** 2 SCALE (1 + factor square). */
function bend(tf: Tf, square: TfTensor, factor: number): TfTensor {
  return tf.add(tf.mul(square, 2 * SCALE * factor), 2 * SCALE)
}

/** A multiple of the numbers that any processor takes at once. */
const LANES = 16

/**
 * Applies a function of single numbers to arrays of one shape.
 *
 * TensorFlow's kernels take several numbers at once, and what is left at an array's end one by one, by another routine with other last bits: a
 * row would not have the same bits wherever it stands. So arrays are filled up until nothing is left.
 */
export function byLanes({ tf, tensorflow }: Kernels, inputs: readonly TfTensor[], compute: (...inputs: TfTensor[]) => TfTensor): TfTensor {
  const [{ size, shape }] = inputs as [TfTensor]
  const missing = (LANES - (size % LANES)) % LANES
  if (tensorflow === null || missing === 0) return compute(...inputs)
  const filled = inputs.map((input) => tf.pad(tf.reshape(input, [size]), [[0, missing]], 0.5))
  return tf.reshape(tf.slice(compute(...filled), [0], [size]), shape)
}
