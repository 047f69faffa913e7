/**
 * @file Qwen3: a Llama that normalises each head's query and key before it rotates them, with heads of any size.
 *
 * Source: Yang et al. 2025, arXiv:2505.09388; options as in transformers' Qwen3Config.
 */
import { z } from 'zod'
import type { Family } from './family.js'
import { llamaKeys, llamaShapeOf } from './llama-config.js'
import { llamaShaped, type LlamaShape } from './llama-shaped.js'
import { parseConfig } from './parse-config.js'
import { windowKeys, windowsOf } from './qwen-windows.js'

const Qwen3Config = z.object({
  ...llamaKeys,
  ...windowKeys,
  model_type: z.literal('qwen3'),
  max_position_embeddings: llamaKeys.max_position_embeddings.default(32768),
  num_key_value_heads: z.int().positive().nullable().default(32),
  head_dim: z.int().positive().default(128),
  attention_bias: z.boolean().default(false),
})

export const qwen3: Family<LlamaShape> = {
  ...llamaShaped,
  name: 'qwen3',
  modelTypes: ['qwen3'],
  architectures: ['Qwen3ForCausalLM', 'Qwen3Model'],
  parse(json) {
    const config = parseConfig('Qwen3', Qwen3Config, json)
    return llamaShapeOf(config, 'Qwen3', {
      biases: { qkv: config.attention_bias, output: config.attention_bias, feedForward: false },
      headNorms: true,
      windows: windowsOf(config, 'Qwen3'),
    })
  },
}
