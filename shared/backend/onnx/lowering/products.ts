/**
 * @file Ops that multiply matrices or normalise rows.
 */
import type { AttributeProto } from '../proto.js'
import type { Lowering } from './call.js'
import { logarithm } from './elementwise.js'

/** A transposed weight is a flag of the product, never a transposed copy. */
export const matmul: Lowering = (emit, call) => {
  const attributes = { transA: flag(call.flag('transposeA')), transB: flag(call.flag('transposeB')) }
  if (!call.flag('transposeA') && !call.flag('transposeB')) return [emit.one('MatMul', call.names)]
  return [emit.one('FusedMatMul', call.names, { attributes, contrib: true })]
}

export const gemm: Lowering = (emit, call) => {
  const attributes = { transA: flag(call.flag('transposeA')), transB: flag(call.flag('transposeB')) }
  return [emit.one('Gemm', call.names, { attributes })]
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
  const logits = emit.one('Gemm', [hidden.name, weight.name], { attributes: { transB: { int: 1 } } })
  const probabilities = emit.one('Softmax', [logits], { attributes: { axis: { int: -1 } } })
  const column = emit.one('Unsqueeze', [targets.name, emit.integers([1])])
  const pick = (from: string): string =>
    emit.one('Squeeze', [emit.one('GatherElements', [from, column], { attributes: { axis: { int: 1 } } }), emit.integers([1])])
  const nll = emit.one('Neg', [logarithm(emit, emit.one('Max', [pick(probabilities), emit.floats([LEAST])]))])
  return [nll, emit.one('Add', [pick(logits), nll]), probabilities]
}
