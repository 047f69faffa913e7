/**
 * @file Keys that the config.json of every Llama-shaped family has, and the shape they give.
 */
import { z } from 'zod'
import { activationNames } from './activations.js'
import type { LlamaShape } from './llama-shaped.js'
import { refusedConfig } from './parse-config.js'
import { ropeKeys, ropeOf } from './rope.js'

const Size = z.int().positive()

/** Defaults that differ between families are each family's own. Dropouts are not applied to a frozen base, so they are not read. */
export const llamaKeys = {
  ...ropeKeys,
  vocab_size: Size,
  hidden_size: Size,
  intermediate_size: Size,
  num_hidden_layers: Size,
  num_attention_heads: Size,
  num_key_value_heads: Size.nullish(),
  head_dim: Size.nullish(),
  hidden_act: z.enum(activationNames).default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  is_causal: z.literal(true, 'attention to later tokens is not supported').default(true),
}

type LlamaKeys = z.infer<z.ZodObject<typeof llamaKeys>>

/** @throws UserError MODEL_UNSUPPORTED for heads that do not divide evenly, or a rotary embedding that is not supported. */
export function llamaShapeOf(c: LlamaKeys, family: string, own: Pick<LlamaShape, 'biases' | 'headNorms' | 'windows'>): LlamaShape {
  const keyHeads = c.num_key_value_heads ?? c.num_attention_heads
  if (c.num_attention_heads % keyHeads !== 0)
    throw refusedConfig(family, `num_key_value_heads: ${keyHeads} does not divide num_attention_heads, ${c.num_attention_heads}`)
  const headSize = c.head_dim ?? c.hidden_size / c.num_attention_heads
  if (!Number.isInteger(headSize))
    throw refusedConfig(family, `num_attention_heads: ${c.num_attention_heads} does not divide hidden_size, ${c.hidden_size}`)
  return {
    vocabularySize: c.vocab_size,
    hiddenSize: c.hidden_size,
    innerSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    keyHeads,
    headSize,
    maxPositions: c.max_position_embeddings,
    activation: c.hidden_act,
    normEpsilon: c.rms_norm_eps,
    rope: ropeOf(c, headSize, family),
    tiedHead: c.tie_word_embeddings,
    ...own,
  }
}
