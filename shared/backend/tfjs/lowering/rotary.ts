/**
 * @file Rotary position embedding, by tables of cosines and sines that all blocks of a run share.
 */
import type { Lowering } from './call.js'
import { byLanes } from './elementwise.js'

export const rotary: Lowering = (kernels, call) => {
  const { tf } = kernels
  const [x, positions] = [call.input(0), call.input(1)]
  const [frequencies, scale] = [call.numbers('frequencies'), call.number('scale')]
  const [tokens, columns] = x.shape as [number, number]
  const pairs = frequencies.length
  const key = `rotary ${positions.id} ${scale} ${frequencies.join()}`
  const table = (name: 'cos' | 'sin') =>
    call.once(`${key} ${name}`, () => {
      const angles = tf.mul(tf.reshape(tf.cast(positions, 'float32'), [tokens, 1, 1]), tf.tensor(frequencies, [1, 1, pairs]))
      return tf.mul(
        byLanes(kernels, [angles], (angle) => tf[name](angle)),
        scale,
      )
    })
  const [cos, sin] = [table('cos'), table('sin')]
  const heads = tf.reshape(x, [tokens, columns / (2 * pairs), 2 * pairs])
  const [a, b] = tf.split(heads, 2, 2) as [typeof x, typeof x]
  const [first, second] = call.flag('inverse') ? [tf.add, tf.sub] : [tf.sub, tf.add]
  const turned = [first(tf.mul(a, cos), tf.mul(b, sin)), second(tf.mul(b, cos), tf.mul(a, sin))]
  return tf.reshape(tf.concat(turned, 2), [tokens, columns])
}
