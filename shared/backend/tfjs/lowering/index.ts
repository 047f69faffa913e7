/**
 * @file How each op becomes calls of TensorFlow.js. An op that is missing here does not compile.
 */
import type { OpName } from '../../../graph/ops/index.js'
import type { Lowering } from './call.js'
import { binary, gelu, geluGrad, positive, silu, siluGrad, unary } from './elementwise.js'
import { fromHeads, toHeads } from './heads.js'
import { crossEntropyHead, gemm, layerNorm, matmul, rmsNorm, softmax } from './products.js'
import { rotary } from './rotary.js'
import { gather, scatterRows } from './rows.js'
import { broadcastTo, causalMask, concat, reshape, sliceLike, split, sum, sumTo, transpose } from './shapes.js'

export const lowerings = {
  add: binary('add'),
  broadcast_to: broadcastTo,
  causal_mask: causalMask,
  concat,
  cross_entropy_head: crossEntropyHead,
  div: binary('div'),
  erf: unary('erf'),
  exp: unary('exp'),
  from_heads: fromHeads,
  gather,
  gelu,
  gelu_grad: geluGrad,
  gemm,
  layer_norm: layerNorm,
  log: unary('log'),
  matmul,
  mul: binary('mul'),
  neg: unary('neg'),
  positive,
  relu: unary('relu'),
  reshape,
  rms_norm: rmsNorm,
  rotary,
  scatter_rows: scatterRows,
  silu,
  silu_grad: siluGrad,
  slice_like: sliceLike,
  softmax,
  split,
  sqrt: unary('sqrt'),
  sub: binary('sub'),
  sum,
  sum_to: sumTo,
  tanh: unary('tanh'),
  to_heads: toHeads,
  transpose,
} satisfies Record<OpName, Lowering>
