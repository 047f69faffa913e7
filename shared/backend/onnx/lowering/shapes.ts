/**
 * @file Ops that move numbers, repeat them or add them up along axes.
 */
import type { Dim } from '../../../graph/dims.js'
import { MASKED } from '../../../graph/ops/causal_mask.js'
import type { Emitter, Operand } from '../emitter.js'
import type { Lowering } from './call.js'

export const reshape: Lowering = (emit, call) => [reshaped(emit, call.input(0), call.outputs[0].shape)]

/**
 * In the target, 0 stands for the input's size at the same axis and -1 for what is left over, so that most shapes with symbols are
 * literals; only two or more that neither covers are computed.
 */
function reshaped(emit: Emitter, x: Operand, shape: readonly Dim[]): string {
  const target = shape.map((dim, axis) => (typeof dim === 'string' && dim === x.shape[axis] ? 0 : dim))
  const unknown = target.filter((dim) => typeof dim === 'string').length
  const literal = target.map((dim) => (typeof dim === 'string' ? -1 : dim))
  return emit.one('Reshape', [x.name, unknown > 1 ? emit.shape(shape) : emit.integers(literal)])
}

export const broadcastTo: Lowering = (emit, call) => [emit.one('Expand', [call.input(0).name, emit.shape(call.outputs[0].shape)])]

export const transpose: Lowering = (emit, call) => [
  emit.one('Transpose', call.names, { attributes: { perm: { ints: call.numbers('permutation') } } }),
]

export const sum: Lowering = (emit, call) => [reduced(emit, call.input(0).name, call.numbers('axes'), true)]

export const sumTo: Lowering = (emit, call) => {
  const x = call.input(0)
  const shape = call.outputs[0].shape
  const extra = x.shape.length - shape.length
  const leading = Array.from({ length: extra }, (_, axis) => axis)
  const ones = shape.flatMap((dim, axis) => (dim === 1 && x.shape[axis + extra] !== 1 ? [axis + extra] : []))
  const kept = ones.length > 0 ? reduced(emit, x.name, ones, true) : x.name
  return [extra > 0 ? reduced(emit, kept, leading, false) : kept]
}

function reduced(emit: Emitter, x: string, axes: readonly number[], keep: boolean): string {
  return emit.one('ReduceSum', [x, emit.integers(axes)], { attributes: { keepdims: { int: keep ? 1 : 0 } } })
}

export const split: Lowering = (emit, call) => {
  const count = call.number('count')
  return emit.many('Split', call.names, count, { attributes: { axis: { int: call.number('axis') }, num_outputs: { int: count } } })
}

export const concat: Lowering = (emit, call) => [emit.one('Concat', call.names, { attributes: { axis: { int: call.number('axis') } } })]

export const sliceLike: Lowering = (emit, call) => {
  const axis = call.number('axis')
  const sizes = emit.shape(call.outputs.map(({ shape }) => shape[axis]))
  return emit.many('Split', [call.input(0).name, sizes], call.outputs.length, { attributes: { axis: { int: axis } } })
}

/** Two corners of a matrix of MASKED: above the diagonal that ends in the last row's last key, and from a window's length below it. */
export const causalMask: Lowering = (emit, call) => {
  const [queries, keys] = call.outputs[0].shape as [Dim, Dim]
  const window = call.number('window')
  const masked = emit.one('Expand', [emit.floats([MASKED]), emit.shape([queries, keys])])
  /** The number of the diagonal that is `offset` beyond a token's own. */
  const diagonal = (offset: number): string => {
    if (queries === keys) return emit.integers(offset)
    const own = emit.one('Sub', [emit.dim(keys), emit.dim(queries)])
    return emit.one('Squeeze', [emit.one('Add', [own, emit.integers([offset])])])
  }
  const later = emit.one('Trilu', [masked, diagonal(1)], { attributes: { upper: { int: 1 } } })
  if (window === 0) return [later]
  return [emit.one('Add', [later, emit.one('Trilu', [masked, diagonal(-window)], { attributes: { upper: { int: 0 } } })])]
}
