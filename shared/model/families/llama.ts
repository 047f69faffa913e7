/**
 * @file Llama, 1 to 3.x, and models that call themselves so, as SmolLM2: grouped queries, rotary positions, a gated feed-forward layer.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Grattafiori et al. 2024, arXiv:2407.21783; options as in transformers' LlamaConfig.
 */
import { z } from 'zod'
import type { Family } from './family.js'
import { llamaKeys, llamaShapeOf } from './llama-config.js'
import { llamaShaped, type LlamaShape } from './llama-shaped.js'
import { parseConfig } from './parse-config.js'

const LlamaConfig = z.object({
  ...llamaKeys,
  model_type: z.literal('llama'),
  max_position_embeddings: llamaKeys.max_position_embeddings.default(2048),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  layer_types: z.array(z.literal('full_attention', 'a Llama has no blocks of another kind')).nullish(),
})

export const llama: Family<LlamaShape> = {
  ...llamaShaped,
  name: 'llama',
  modelTypes: ['llama'],
  architectures: ['LlamaForCausalLM', 'LlamaModel'],
  parse(json) {
    const config = parseConfig('Llama', LlamaConfig, json)
    return llamaShapeOf(config, 'Llama', {
      biases: { qkv: config.attention_bias, output: config.attention_bias, feedForward: config.mlp_bias },
      headNorms: false,
      windows: Array<null>(config.num_hidden_layers).fill(null),
    })
  },
}
