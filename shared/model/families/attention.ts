/**
 * @file Causal attention, as all families have it: scores of queries against keys, and the mean of values that they weight.
 */
import { dimProduct } from '../../graph/dims.js'
import type { Value } from '../../graph/graph.js'
import type { BatchValues } from './family.js'

export interface AttentionOptions {
  /** Number of the block, under which keys and values are remembered. */
  readonly block: number
  /** What the products of queries and keys are multiplied by. */
  readonly scale: number
  /** A token sees itself and the window - 1 before it; null: all before it. */
  readonly window: number | null
}

/**
 * softmax(scale Q K^T + mask) V for every head, back to packed tokens.
 *
 * With fewer key heads than query heads, each serves as many neighbouring query heads. Their queries stand one below the other in one
 * product, so that keys and values are never repeated.
 *
 * @param q f32 [batch, heads, longest, size].
 * @param k of the same tokens, as v: f32 [batch, key heads, longest, size]. The number of key heads divides that of heads.
 * @returns f32 [tokens, heads * size].
 * Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2; grouped heads: Ainslie et al. 2023, arXiv:2305.13245; windows: Beltagy et al.
 * 2020, arXiv:2004.05150.
 */
export function attention(q: Value, k: Value, v: Value, batchValues: BatchValues, { block, scale, window }: AttentionOptions): Value {
  const { slots, places, remember } = batchValues
  const [batch, heads, longest, size] = q.shape as readonly [string, number, string, number]
  const keyHeads = k.shape[1] as number
  const group = heads / keyHeads
  const stacked = dimProduct([group, longest])
  const keys = remember?.(`key.${block}`, k, 2) ?? k
  const values = remember?.(`value.${block}`, v, 2) ?? v
  const seen = keys.shape[2]
  const mask = q.builder.apply('causal_mask', [], { size: [longest, seen], window: window ?? 0 })[0]
  const scores = q.reshape([batch, keyHeads, stacked, size]).mul(scale).matmul(keys, { transposeB: true })
  const masked = group === 1 ? scores.add(mask) : scores.reshape([batch, keyHeads, group, longest, seen]).add(mask)
  return masked.softmax().reshape(scores.shape).matmul(values).reshape(q.shape).fromHeads(slots, places)
}
