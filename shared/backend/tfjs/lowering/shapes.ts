/**
 * @file Ops that move numbers, repeat them or add them up along axes.
 */
import { MASKED } from '../../../graph/ops/causal_mask.js'
import type { Lowering } from './call.js'

export const reshape: Lowering = ({ tf }, call) => tf.reshape(call.input(0), call.shape)

export const broadcastTo: Lowering = ({ tf }, call) => tf.broadcastTo(call.input(0), call.shape)

export const transpose: Lowering = ({ tf }, call) => tf.transpose(call.input(0), call.numbers('permutation'))

export const sum: Lowering = ({ tf }, call) => tf.sum(call.input(0), call.numbers('axes'), true)

export const sumTo: Lowering = ({ tf }, call) => {
  const [x, shape] = [call.input(0), call.shape]
  const extra = x.rank - shape.length
  const axes = x.shape.flatMap((size, axis) => (axis < extra || (shape[axis - extra] === 1 && size !== 1) ? [axis] : []))
  return tf.reshape(axes.length > 0 ? tf.sum(x, axes, true) : x, shape)
}

export const split: Lowering = ({ tf }, call) => tf.split(call.input(0), call.number('count'), call.number('axis'))

export const concat: Lowering = ({ tf }, call) => tf.concat(call.inputs, call.number('axis'))

export const sliceLike: Lowering = ({ tf }, call) => {
  const axis = call.number('axis')
  let from = 0
  return call.shapes.map((shape) => {
    const begin = shape.map((_, each) => (each === axis ? from : 0))
    from += shape[axis]!
    return tf.slice(call.input(0), begin, [...shape])
  })
}

/** Made here, once for each run: it is small beside the scores that it is added to. */
export const causalMask: Lowering = ({ tf }, call) => {
  const [queries, keys] = call.shape as [number, number]
  const window = call.number('window')
  const numbers = new Float32Array(queries * keys)
  for (let query = 0; query < queries; query++) {
    const own = query + keys - queries
    numbers.fill(MASKED, query * keys + own + 1, (query + 1) * keys)
    if (window > 0) numbers.fill(MASKED, query * keys, query * keys + Math.max(0, own - window + 1))
  }
  return tf.tensor(numbers, [queries, keys])
}
