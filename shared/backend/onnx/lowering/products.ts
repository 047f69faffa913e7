/**
 * @file Ops that multiply matrices or normalise rows.
 */
import type { AttributeProto } from '../proto.js'
import { multiplyBlocks } from './blocks.js'
import type { Lowering } from './call.js'
import { logarithm } from './elementwise.js'
import { apart } from './wide-rows.js'

/** A transposed weight is a flag of the product, never a transposed copy. */
export const matmul: Lowering = (emit, call) => {
  const attributes = { transA: flag(call.flag('transposeA')), transB: flag(call.flag('transposeB')) }
  if (!call.flag('transposeA') && !call.flag('transposeB')) return [emit.one('MatMul', call.names)]
  return [emit.one('FusedMatMul', call.names, { attributes, contrib: true })]
}

export const gemm: Lowering = (emit, call) => {
  const [a, { blocks }, add] = [call.input(0), call.input(1), call.optional(2)]
  if (blocks && !call.flag('transposeA')) {
    const isBias = add?.shape.length === 1 && add.shape[0] === call.outputs[0].shape[1]
    const y = multiplyBlocks(emit, a.name, blocks, call.flag('transposeB') ? 'rows' : 'columns', isBias ? add.name : undefined)
    return [add === null || isBias ? y : emit.one('Add', [y, add.name])]
  }
  const attributes = { transA: flag(call.flag('transposeA')), transB: flag(call.flag('transposeB')) }
  if (call.flag('transposeA')) return [emit.one('Gemm', call.names, { attributes })]
  const { left, right } = apart(emit, a, call.input(1), call.flag('transposeB'))
  return [emit.one('Gemm', [left, right, ...(add ? [add.name] : [])], { attributes })]
}

function flag(value: boolean): AttributeProto {
  return { int: value ? 1 : 0 }
}

export const softmax: Lowering = (emit, call) => [emit.one('Softmax', call.names, { attributes: { axis: { int: -1 } } })]

export const layerNorm: Lowering = (emit, call) =>
  emit.many('LayerNormalization', call.names, 3, { attributes: { axis: { int: -1 }, epsilon: { float: call.number('epsilon') } } })

/** Not in ONNX's opset 20, but in the runtime's own of that domain. */
export const rmsNorm: Lowering = (emit, call) =>
  emit.many('SimplifiedLayerNormalization', call.names, 2, {
    attributes: { axis: { int: -1 }, epsilon: { float: call.number('epsilon') }, stash_type: { int: 1 } },
  })

/** Below the smallest normal f32, a probability's logarithm would be infinite. */
const LEAST = 1e-38

/** nll = -log P[target] and logSumExp = logit[target] + nll: one softmax, and nothing as wide as the vocabulary but it and the logits. */
export const crossEntropyHead: Lowering = (emit, call) => {
  const [hidden, weight, targets] = [call.input(0), call.input(1), call.input(2)]
  const logits = weight.blocks
    ? multiplyBlocks(emit, hidden.name, weight.blocks, 'rows')
    : emit.one('Gemm', [hidden.name, weight.name], { attributes: { transB: { int: 1 } } })
  const probabilities = emit.one('Softmax', [logits], { attributes: { axis: { int: -1 } } })
  const column = emit.one('Unsqueeze', [targets.name, emit.integers([1])])
  const alongRow = { attributes: { axis: { int: 1 } } }
  const picked = emit.one('GatherElements', [probabilities, column], alongRow)
  const flat = (x: string): string => emit.one('Squeeze', [x, emit.integers([1])])
  const nll = emit.one('Neg', [logarithm(emit, emit.one('Max', [flat(picked), emit.floats([LEAST])]))])
  const logit = flat(emit.one('GatherElements', [logits, column], alongRow))
  // The runtime writes it where the probabilities were.
  const slope = emit.one('ScatterElements', [probabilities, column, emit.one('Sub', [picked, emit.floats([1])])], alongRow)
  return [nll, emit.one('Add', [logit, nll]), slope]
}
