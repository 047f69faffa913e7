/**
 * @file Sizes of models to measure with, as config.json has them. Their weights are random: time does not depend on the values.
 */
export const SHAPES = {
  gpt2: { model_type: 'gpt2', vocab_size: 50257, n_embd: 768, n_layer: 12, n_head: 12 },
  'gpt2-medium': { model_type: 'gpt2', vocab_size: 50257, n_embd: 1024, n_layer: 24, n_head: 16 },
  'smollm2-135m': {
    model_type: 'llama',
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rope_theta: 100000,
    tie_word_embeddings: true,
  },
} as const

/** Six blocks of width 256, with the vocabulary of the shipped model's tokenizer: a size that federated simulations are shown with. */
export const SMALL_SHAPE = { model_type: 'gpt2', vocab_size: 4096, n_positions: 1024, n_embd: 256, n_layer: 6, n_head: 4 } as const

export const ALL_SHAPES = { small: SMALL_SHAPE, ...SHAPES } as const
export const SHAPE_NAMES = ['small', 'gpt2', 'gpt2-medium', 'smollm2-135m'] as const satisfies readonly (keyof typeof ALL_SHAPES)[]
