/**
 * @file Qwen2 and 2.5: a Llama whose queries, keys and values have biases; later blocks may see only a window.
 *
 * Source: Yang et al. 2024, arXiv:2407.10671; options as in transformers' Qwen2Config.
 */
import { z } from 'zod'
import type { Family } from './family.js'
import { llamaKeys, llamaShapeOf } from './llama-config.js'
import { llamaShaped, type LlamaShape } from './llama-shaped.js'
import { parseConfig } from './parse-config.js'
import { windowKeys, windowsOf } from './qwen-windows.js'

const Qwen2Config = z.object({
  ...llamaKeys,
  ...windowKeys,
  model_type: z.literal('qwen2'),
  max_position_embeddings: llamaKeys.max_position_embeddings.default(32768),
  num_key_value_heads: z.int().positive().nullable().default(32),
})

export const qwen2: Family<LlamaShape> = {
  ...llamaShaped,
  name: 'qwen2',
  modelTypes: ['qwen2'],
  architectures: ['Qwen2ForCausalLM', 'Qwen2Model'],
  parse(json) {
    const config = parseConfig('Qwen2', Qwen2Config, json)
    return llamaShapeOf(config, 'Qwen2', {
      biases: { qkv: true, output: false, feedForward: false },
      headNorms: false,
      windows: windowsOf(config, 'Qwen2'),
    })
  },
}
