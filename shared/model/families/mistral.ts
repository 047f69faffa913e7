/**
 * @file Mistral: a Llama in which a token sees only a window of those before it.
 *
 * Source: Jiang et al. 2023, arXiv:2310.06825; options as in transformers' MistralConfig.
 */
import { z } from 'zod'
import type { Family } from './family.js'
import { llamaKeys, llamaShapeOf } from './llama-config.js'
import { llamaShaped, type LlamaShape } from './llama-shaped.js'
import { parseConfig } from './parse-config.js'

const MistralConfig = z.object({
  ...llamaKeys,
  model_type: z.literal('mistral'),
  max_position_embeddings: llamaKeys.max_position_embeddings.default(131072),
  num_key_value_heads: z.int().positive().nullable().default(8),
  sliding_window: z.int().positive().nullable().default(4096),
  layer_types: z.null('transformers makes a Ministral of a Mistral with this key, which is not supported').optional(),
})

export const mistral: Family<LlamaShape> = {
  ...llamaShaped,
  name: 'mistral',
  modelTypes: ['mistral'],
  architectures: ['MistralForCausalLM', 'MistralModel'],
  parse(json) {
    const config = parseConfig('Mistral', MistralConfig, json)
    return llamaShapeOf(config, 'Mistral', {
      biases: { qkv: false, output: false, feedForward: false },
      headNorms: false,
      windows: Array<number | null>(config.num_hidden_layers).fill(config.sliding_window),
    })
  },
}
