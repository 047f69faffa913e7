/**
 * @file Which blocks of a Qwen see only a window: keys of its config.json that Qwen2 and Qwen3 read alike.
 */
import { z } from 'zod'
import { refusedConfig } from './parse-config.js'

export const windowKeys = {
  use_sliding_window: z.boolean().default(false),
  sliding_window: z.int().positive().nullable().default(4096),
  /** Blocks before this one see everything. */
  max_window_layers: z.int().nonnegative().default(28),
  layer_types: z.array(z.enum(['full_attention', 'sliding_attention'])).nullish(),
}

type WindowKeys = z.infer<z.ZodObject<typeof windowKeys>>

/**
 * For each block, how many tokens one sees; null: all. A list of kinds goes before a number of blocks.
 * @throws UserError MODEL_UNSUPPORTED for a list of another length than the model, or one that asks for a window where there is none.
 */
export function windowsOf(config: WindowKeys & { readonly num_hidden_layers: number }, family: string): (number | null)[] {
  const { layer_types: types, num_hidden_layers: layers, max_window_layers: first } = config
  const window = config.use_sliding_window ? config.sliding_window : null
  if (!types) return Array.from({ length: layers }, (_, block) => (block >= first ? window : null))
  if (types.length !== layers) throw refusedConfig(family, `layer_types: it has ${types.length} entries for ${layers} blocks`)
  if (window === null && types.includes('sliding_attention'))
    throw refusedConfig(family, 'layer_types: sliding_attention needs use_sliding_window and a sliding_window')
  return types.map((type) => (type === 'sliding_attention' ? window : null))
}
