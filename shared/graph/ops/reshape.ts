/**
 * @file The same numbers under another shape.
 */
import { dimProduct, type Dim } from '../dims.js'
import { unreachable } from '../../errors.js'
import { defineOp } from '../graph.js'

/** x: any dtype [...]. y: the same elements in the same order, shape `shape`. */
export const reshape = defineOp<'x', never, { shape: readonly Dim[] }>({
  name: 'reshape',
  inputs: ['x'],
  cost: 'view',
  infer({ x }, { shape }) {
    if (dimProduct(x.shape) !== dimProduct(shape)) unreachable(`cannot reshape [${x.shape.join(', ')}] to [${shape.join(', ')}]`)
    return { dtype: x.dtype, shape }
  },
  vjp: ({ x, grad }) => ({ x: grad.reshape(x.shape) }),
  reference: ({ x }, _, [shape]) => x.reshape(shape),
})
