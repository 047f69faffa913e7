/**
 * @file Ops that multiply matrices or normalise rows.
 */
import type { TensorFlow, Tf, TfTensor } from '../kernels.js'
import type { Lowering } from './call.js'
import { byLanes } from './elementwise.js'
import { product } from './matrix-product.js'
import { expectIndices } from './rows.js'

export const matmul: Lowering = (kernels, call) =>
  product(kernels, call.input(0), call.input(1), call.flag('transposeA'), call.flag('transposeB'))

export const gemm: Lowering = (kernels, call) => {
  const add = call.optional(2)
  const y = product(kernels, call.input(0), call.input(1), call.flag('transposeA'), call.flag('transposeB'))
  return add === null ? y : kernels.tf.add(y, add)
}

/** TensorFlow's own adds a row's powers up in an order that depends on where the row stands. */
export const softmax: Lowering = (kernels, call) => {
  const [{ tf, kind }, x] = [kernels, call.input(0)]
  if (kind !== 'native') return tf.softmax(x)
  const powers = byLanes(kernels, [tf.sub(x, tf.max(x, -1, true))], (shifted) => tf.exp(shifted))
  return tf.div(powers, tf.sum(powers, -1, true))
}

export const layerNorm: Lowering = ({ tf }, call) => {
  const [x, weight, bias] = [call.input(0), call.input(1), call.input(2)]
  const mean = tf.mean(x, 1, true)
  const centred = tf.sub(x, mean)
  const inverse = inverseRoot(tf, centred, call.number('epsilon'))
  return [tf.add(tf.mul(tf.mul(centred, inverse), weight), bias), mean, inverse]
}

export const rmsNorm: Lowering = ({ tf }, call) => {
  const [x, weight] = [call.input(0), call.input(1)]
  const inverse = inverseRoot(tf, x, call.number('epsilon'))
  return [tf.mul(tf.mul(x, inverse), weight), inverse]
}

/** 1 / sqrt(mean(x^2) + epsilon) over the rows: f32 [n, 1]. */
function inverseRoot(tf: Tf, x: TfTensor, epsilon: number): TfTensor {
  return tf.div(1, tf.sqrt(tf.add(tf.mean(tf.square(x), 1, true), epsilon)))
}

/** TensorFlow's fused loss: nll and slope in one kernel, whose passes over the vocabulary are fewer. */
function fusedLoss(tensorflow: TensorFlow, logits: TfTensor, targets: TfTensor): [nll: TfTensor, slope: TfTensor] {
  const attributes = { T: { dtype: 'f32' }, Tlabels: { dtype: 'i32' } } as const
  return tensorflow.run('SparseSoftmaxCrossEntropyWithLogits', [logits, targets], attributes, 2) as [TfTensor, TfTensor]
}

/** The 1 of each target is taken off at its place: nothing is as wide as the vocabulary but the logits and their probabilities. */
export const crossEntropyHead: Lowering = (kernels, call) => {
  const { tf, tensorflow } = kernels
  const [hidden, weight, targets] = [call.input(0), call.input(1), call.input(2)]
  const [rows, vocabulary] = call.shapes[2] as [number, number]
  expectIndices('cross_entropy_head', targets, vocabulary)
  const logits = product(kernels, hidden, weight, false, true)
  const places = tf.stack([tf.range(0, rows, 1, 'int32'), targets], 1)
  if (tensorflow !== null) {
    const [nll, slope] = fusedLoss(tensorflow, logits, targets)
    return [nll, tf.add(tf.gatherND(logits, places), nll), slope]
  }
  const highest = tf.max(logits, 1, true)
  const powers = tf.exp(tf.sub(logits, highest))
  const total = tf.sum(powers, 1, true)
  const probabilities = tf.div(powers, total)
  const logSumExp = tf.reshape(tf.add(tf.log(total), highest), [rows])
  const picked = tf.gatherND(probabilities, places)
  const slope = tf.tensorScatterUpdate(probabilities, places, tf.sub(picked, 1))
  return [tf.sub(logSumExp, tf.gatherND(logits, places)), logSumExp, slope]
}
