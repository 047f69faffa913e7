import { describe, expect, test } from 'vitest'
import { graphWeights } from '../../graph/data.js'
import { logitsGraph } from '../graphs.js'
import { expectSineLogits } from '../testing/sines.js'
import { gpt2 } from './gpt2.js'

const SMALL = { model_type: 'gpt2', vocab_size: 5, n_positions: 4, n_embd: 4, n_layer: 1, n_head: 2 }

describe('a configuration of GPT-2', () => {
  test('has the defaults of transformers where it is silent', () => {
    expect(gpt2.parse({ ...SMALL, n_positions: undefined })).toMatchObject({
      n_positions: 1024,
      n_inner: null,
      activation_function: 'gelu_new',
      layer_norm_epsilon: 1e-5,
      scale_attn_weights: true,
      scale_attn_by_inverse_layer_idx: false,
      tie_word_embeddings: true,
    })
  })

  test('may carry keys that do not change what is computed in float32', () => {
    const idle = {
      reorder_and_upcast_attn: true,
      attn_pdrop: 0.1,
      summary_type: 'mean',
      use_cache: false,
      dtype: 'float16',
      pruned_heads: {},
    }
    expect(gpt2.parse({ ...SMALL, ...idle })).toEqual(gpt2.parse(SMALL))
  })

  test.each([
    ['n_embd', { n_embd: undefined }],
    ['n_layer', { n_layer: 0 }],
    ['vocab_size', { vocab_size: '5' }],
    ['n_inner', { n_inner: 2.5 }],
    ['activation_function', { activation_function: 'xielu' }],
    ['activation_function', { activation_function: 'constructor' }],
    ['layer_norm_epsilon', { layer_norm_epsilon: 0 }],
    ['scale_attn_weights', { scale_attn_weights: 'yes' }],
    ['tie_word_embeddings', { tie_word_embeddings: null }],
    ['is_causal', { is_causal: false }],
    ['add_cross_attention', { add_cross_attention: true }],
    ['pruned_heads', { pruned_heads: { 0: [1] } }],
    ['n_head', { n_head: 3 }],
  ])('is refused for its %s in %j', (key, changed) => {
    expect(() => gpt2.parse({ ...SMALL, ...changed })).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', why: expect.stringContaining(key) }),
    )
  })
})

test('tensors have one name, with and without the prefix that a model without a head lacks', () => {
  expect(gpt2.rename('h.0.attn.c_attn.weight')).toBe('transformer.h.0.attn.c_attn.weight')
  expect(gpt2.rename('transformer.h.0.attn.c_attn.weight')).toBe('transformer.h.0.attn.c_attn.weight')
  expect(gpt2.rename('lm_head.weight')).toBe('lm_head.weight')
})

test('the causal masks that old checkpoints carry are no weights, and the biases of attention are', () => {
  expect(['h.0.attn.bias', 'transformer.h.0.attn.masked_bias'].map(gpt2.rename)).toEqual([null, null])
  expect(gpt2.rename('h.0.attn.c_attn.bias')).toBe('transformer.h.0.attn.c_attn.bias')
})

test('a block is known by its absolute number', () => {
  expect(gpt2.blockOf('transformer.h.11.mlp.c_fc.weight')).toBe(11)
  expect(['transformer.wte.weight', 'transformer.ln_f.bias', 'lm_head.weight'].map(gpt2.blockOf)).toEqual([null, null, null])
})

test.each([
  ['tied', {}],
  ['untied', { tie_word_embeddings: false, n_inner: 6 }],
])('the graph of a %s model reads the tensors that are asked of its checkpoint, in their shapes', (_, changed) => {
  const config = gpt2.parse({ ...SMALL, ...changed })
  const read = new Map([...graphWeights(logitsGraph({ family: gpt2, config }))].map(([name, { shape }]) => [name, shape]))
  expect(read).toEqual(gpt2.tensors(config))
})

test('linear layers are those of the checkpoint that have a matrix', () => {
  const config = gpt2.parse({ ...SMALL, n_layer: 2, n_inner: 6 })
  const matrices = [...gpt2.tensors(config)].filter(([name, { length }]) => name.includes('.h.') && length === 2)
  expect(gpt2.linears(config).map((module) => [`${module.path}.weight`, [module.in, module.out]])).toEqual(matrices)
})

test('an inner size, exact GELU, another epsilon and a head of its own give what transformers computes', async () => {
  const options = { n_inner: 6, activation_function: 'gelu', layer_norm_epsilon: 1e-3, tie_word_embeddings: false }
  const published = [
    -0.30877369, 0.19966915, 0.04774877, -0.26209049, 0.2948788, -0.32617221, -0.06027217, 0.40496525, -0.46913374, 0.2083273, -0.33163533,
    0.21147862, 0.05517204, -0.28360431, 0.31558027,
  ]
  await expectSineLogits(gpt2, { ...SMALL, ...options }, [3, 0, 4], published)
})

/** Of [3, 0, 4]; the first token attends to itself alone, whatever the scale, so its logits are the same in both. */
const FIRST = [0.62190132, -0.53482226, 0.07726498, 0.43381474, -0.64438544]

test.each([
  [
    'unscaled',
    { scale_attn_weights: false },
    [...FIRST, 0.54710035, -0.56136771, 0.18676848, 0.31720766, -0.60144999, 0.62932834, -0.53050697, 0.06419663, 0.44658353, -0.64800957],
  ],
  [
    'scaled by the number of the block alone',
    { scale_attn_weights: false, scale_attn_by_inverse_layer_idx: true },
    [...FIRST, 0.55624023, -0.5595468, 0.17524815, 0.33044713, -0.60723746, 0.62965021, -0.53031167, 0.06361946, 0.44714277, -0.64816348],
  ],
])('attention that is %s gives what transformers computes', async (_, options, published) => {
  await expectSineLogits(gpt2, { ...SMALL, n_layer: 2, ...options }, [3, 0, 4], published)
})
