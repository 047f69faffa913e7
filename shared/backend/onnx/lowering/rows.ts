/**
 * @file Ops that pick rows by index.
 */
import { gatherBlocks } from './blocks.js'
import type { Lowering } from './call.js'

export const gather: Lowering = (emit, call) => {
  const [table, indices] = [call.input(0), call.input(1)]
  return [table.blocks ? gatherBlocks(emit, table.blocks, indices.name) : emit.one('Gather', [table.name, indices.name])]
}

/** ScatterND adds the rows up one after the other, so that rows with the same index come out the same every time. */
export const scatterRows: Lowering = (emit, call) => {
  const [x, indices] = [call.input(0), call.input(1)]
  const places = emit.one('Cast', [emit.one('Unsqueeze', [indices.name, emit.integers([1])])], { attributes: { to: { int: 7 } } })
  const zeros = emit.one('ConstantOfShape', [emit.shape(call.outputs[0].shape)], { attributes: { value: { scalar: 0 } } })
  return [emit.one('ScatterND', [zeros, places, x.name], { attributes: { reduction: { text: 'add' } } })]
}
