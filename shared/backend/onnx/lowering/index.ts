/**
 * @file How each op becomes ONNX nodes. An op that is missing here does not compile.
 */
import type { OpName } from '../../../graph/ops/index.js'
import type { Lowering } from './call.js'
import { direct, gelu, geluGrad, log, positive, silu, siluGrad } from './elementwise.js'
import { crossEntropyHead, gemm, layerNorm, matmul, rmsNorm, softmax } from './products.js'
import { rotary } from './rotary.js'
import { fromHeads, toHeads } from './heads.js'
import { gather, scatterRows } from './rows.js'
import { broadcastTo, causalMask, concat, reshape, sliceLike, split, sum, sumTo, transpose } from './shapes.js'

export const lowerings = {
  add: direct('Add'),
  broadcast_to: broadcastTo,
  causal_mask: causalMask,
  concat,
  cross_entropy_head: crossEntropyHead,
  div: direct('Div'),
  erf: direct('Erf'),
  exp: direct('Exp'),
  from_heads: fromHeads,
  gather,
  gelu,
  gelu_grad: geluGrad,
  gemm,
  layer_norm: layerNorm,
  log,
  matmul,
  mul: direct('Mul'),
  neg: direct('Neg'),
  positive,
  relu: direct('Relu'),
  reshape,
  rms_norm: rmsNorm,
  rotary,
  scatter_rows: scatterRows,
  silu,
  silu_grad: siluGrad,
  slice_like: sliceLike,
  softmax,
  split,
  sqrt: direct('Sqrt'),
  sub: direct('Sub'),
  sum,
  sum_to: sumTo,
  tanh: direct('Tanh'),
  to_heads: toHeads,
  transpose,
} satisfies Record<OpName, Lowering>
