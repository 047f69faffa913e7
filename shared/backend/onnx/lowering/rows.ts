/**
 * @file Ops that pick rows by index.
 */
import type { Lowering } from './call.js'

export const gather: Lowering = (emit, call) => [emit.one('Gather', call.names)]

/** ScatterND adds the rows up one after the other, so that rows with the same index come out the same every time. */
export const scatterRows: Lowering = (emit, call) => {
  const [x, indices] = [call.input(0), call.input(1)]
  const places = emit.one('Cast', [emit.one('Unsqueeze', [indices.name, emit.integers([1])])], { attributes: { to: { int: 7 } } })
  const zeros = emit.one('ConstantOfShape', [emit.shape(call.outputs[0].shape)], { attributes: { value: { scalar: 0 } } })
  return [emit.one('ScatterND', [zeros, places, x.name], { attributes: { reduction: { text: 'add' } } })]
}

/** The row -1, which padding slots name, is the last one: a row of zeros is put there. */
export const unpack: Lowering = (emit, call) => {
  const [x, slots] = [call.input(0), call.input(1)]
  const width = x.shape[1]
  const zero = emit.one('Expand', [emit.floats([0]), emit.shape([1, width])])
  return [emit.one('Gather', [emit.one('Concat', [x.name, zero], { attributes: { axis: { int: 0 } } }), slots.name])]
}

export const pack: Lowering = (emit, call) => {
  const [x, , places] = [call.input(0), call.input(1), call.input(2)]
  const flat = emit.one('Reshape', [x.name, emit.shape([-1, x.shape[2]])])
  return [emit.one('Gather', [flat, places.name])]
}
