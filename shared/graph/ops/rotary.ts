/**
 * @file Rotary position embedding: turns pairs of numbers of each head by angles that grow with the token's position.
 */
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { expectShape, expectSpec } from '../rules.js'

/**
 * With p frequencies, each 2p neighbouring columns are a head, in which number i and number i + p are a pair:
 * (y_i, y_(i+p)) = scale * R(positions[row] * frequencies[i]) (x_i, x_(i+p)), R the rotation by that angle, or against it if `inverse`.
 * Angles are rounded to float32, as transformers does: at large positions their rounding can be seen in y.
 * x: f32 [n, heads * 2p]. positions: i32 [n]. y: the shape of x.
 * Source: Su et al. 2021, arXiv:2104.09864, section 3.4.2; halves as pairs are transformers' layout.
 */
export const rotary = defineOp<'x' | 'positions', never, { frequencies: readonly number[]; scale: number; inverse: boolean }>({
  name: 'rotary',
  inputs: ['x', 'positions'],
  cost: 'cheap',
  infer({ x, positions }, { frequencies }) {
    const [rows, columns] = expectSpec('rotary: x', x, 'f32', 2).shape
    expectShape('rotary: positions', expectSpec('rotary: positions', positions, 'i32', 1), [rows])
    const head = 2 * frequencies.length
    if (typeof columns !== 'number' || head === 0 || columns % head !== 0)
      return unreachable(`rotary: the width is ${columns}, and must be heads of ${head} numbers`)
    return x
  },
  // The transpose of a rotation is the rotation back.
  vjp: ({ x, positions, grad }, attributes) => ({
    x: x.builder.apply('rotary', [grad, positions], { ...attributes, inverse: !attributes.inverse })[0],
    positions: null,
  }),
  reference({ x, positions }, { frequencies, scale, inverse }, [shape]) {
    const [pairs, columns] = [frequencies.length, shape[1]]
    const out = NdArray.zeros(shape)
    positions.data.forEach((position, row) => {
      frequencies.forEach((frequency, i) => {
        const angle = Math.fround(position * Math.fround(frequency))
        const [cos, sin] = [scale * Math.cos(angle), scale * Math.sin(angle) * (inverse ? -1 : 1)]
        for (let at = row * columns + i; at < (row + 1) * columns; at += 2 * pairs) {
          const [a, b] = [x.data[at], x.data[at + pairs]]
          out.data[at] = a * cos - b * sin
          out.data[at + pairs] = b * cos + a * sin
        }
      })
    })
    return out
  },
})
