/**
 * @file The op table. Backends are checked against its keys: one that lacks an op does not compile.
 */
import { GraphBuilder } from '../graph.js'
import { add } from './add.js'
import { broadcast_to } from './broadcast_to.js'
import { causal_mask } from './causal_mask.js'
import { concat } from './concat.js'
import { cross_entropy_head } from './cross_entropy_head.js'
import { div } from './div.js'
import { erf } from './erf.js'
import { exp } from './exp.js'
import { from_heads } from './from_heads.js'
import { gather } from './gather.js'
import { gelu } from './gelu.js'
import { gelu_grad } from './gelu_grad.js'
import { gemm } from './gemm.js'
import { layer_norm } from './layer_norm.js'
import { log } from './log.js'
import { matmul } from './matmul.js'
import { mul } from './mul.js'
import { neg } from './neg.js'
import { positive } from './positive.js'
import { relu } from './relu.js'
import { reshape } from './reshape.js'
import { rms_norm } from './rms_norm.js'
import { rotary } from './rotary.js'
import { scatter_rows } from './scatter_rows.js'
import { silu } from './silu.js'
import { silu_grad } from './silu_grad.js'
import { slice_like } from './slice_like.js'
import { softmax } from './softmax.js'
import { split } from './split.js'
import { sqrt } from './sqrt.js'
import { sub } from './sub.js'
import { sum } from './sum.js'
import { sum_to } from './sum_to.js'
import { tanh } from './tanh.js'
import { to_heads } from './to_heads.js'
import { transpose } from './transpose.js'

export const ops = {
  add,
  broadcast_to,
  causal_mask,
  concat,
  cross_entropy_head,
  div,
  erf,
  exp,
  from_heads,
  gather,
  gelu,
  gelu_grad,
  gemm,
  layer_norm,
  log,
  matmul,
  mul,
  neg,
  positive,
  relu,
  reshape,
  rms_norm,
  rotary,
  scatter_rows,
  silu,
  silu_grad,
  slice_like,
  softmax,
  split,
  sqrt,
  sub,
  sum,
  sum_to,
  tanh,
  to_heads,
  transpose,
} as const

export type OpName = keyof typeof ops

/** An empty graph that knows every op. */
export function newGraph(): GraphBuilder {
  return new GraphBuilder(ops)
}
