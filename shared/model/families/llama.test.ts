import { describe, expect, test } from 'vitest'
import { graphWeights } from '../../graph/data.js'
import { cut, CUT_VALUE } from '../cut.js'
import { lossGraph, logitsGraph, withLossGradients } from '../graphs.js'
import { expectSineLogits } from '../testing/sines.js'
import type { Family } from './family.js'
import type { LlamaShape } from './llama-shaped.js'
import { llama } from './llama.js'
import { mistral } from './mistral.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'

const SIZES = { vocab_size: 5, hidden_size: 4, intermediate_size: 6, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1 }
const LLAMA = { ...SIZES, model_type: 'llama' }
const MISTRAL = { ...SIZES, model_type: 'mistral' }
const QWEN2 = { ...SIZES, model_type: 'qwen2' }
const QWEN3 = { ...SIZES, model_type: 'qwen3' }
const families: [string, Family<LlamaShape>, object][] = [
  ['Llama', llama, LLAMA],
  ['Mistral', mistral, MISTRAL],
  ['Qwen2', qwen2, QWEN2],
  ['Qwen3', qwen3, QWEN3],
]

describe('a configuration', () => {
  const plain = { activation: 'silu', normEpsilon: 1e-6, tiedHead: false, headNorms: false }
  test.each<[string, LlamaShape, object]>([
    [
      'Llama',
      llama.parse({ ...LLAMA, num_key_value_heads: undefined }),
      {
        ...plain,
        keyHeads: 2,
        headSize: 2,
        maxPositions: 2048,
        windows: [null, null],
        biases: { qkv: false, output: false, feedForward: false },
      },
    ],
    [
      'Mistral',
      mistral.parse({ ...MISTRAL, num_attention_heads: 8, hidden_size: 16, num_key_value_heads: undefined }),
      { ...plain, keyHeads: 8, headSize: 2, maxPositions: 131072, windows: [4096, 4096] },
    ],
    [
      'Qwen2',
      qwen2.parse({ ...QWEN2, num_key_value_heads: null }),
      {
        ...plain,
        keyHeads: 2,
        headSize: 2,
        maxPositions: 32768,
        windows: [null, null],
        biases: { qkv: true, output: false, feedForward: false },
      },
    ],
    ['Qwen3', qwen3.parse(QWEN3), { ...plain, keyHeads: 1, headSize: 128, maxPositions: 32768, windows: [null, null], headNorms: true }],
  ])('of %s has the defaults of transformers where it is silent', (_, parsed, expected) => {
    expect(parsed).toMatchObject(expected)
  })

  test.each(families)('of %s may carry keys that do not change what is computed', (_, family, json) => {
    const idle = { attention_dropout: 0.1, use_cache: false, pretraining_tp: 2, initializer_range: 1, dtype: 'bfloat16', layer_types: null }
    expect(family.parse({ ...json, ...idle })).toEqual(family.parse(json))
  })

  test.each<[string, object]>([
    ['vocab_size', { vocab_size: '5' }],
    ['hidden_size', { hidden_size: undefined }],
    ['intermediate_size', { intermediate_size: [6] }],
    ['num_hidden_layers', { num_hidden_layers: 0 }],
    ['num_attention_heads', { num_attention_heads: 1.5 }],
    ['num_attention_heads', { num_attention_heads: 3, num_key_value_heads: 3, head_dim: undefined }],
    ['num_key_value_heads', { num_attention_heads: 4, num_key_value_heads: 3 }],
    ['head_dim', { head_dim: 0 }],
    ['head_dim', { head_dim: 3 }],
    ['hidden_act', { hidden_act: 'xielu' }],
    ['rms_norm_eps', { rms_norm_eps: 0 }],
    ['max_position_embeddings', { max_position_embeddings: null }],
    ['tie_word_embeddings', { tie_word_embeddings: 'yes' }],
    ['is_causal', { is_causal: false }],
    ['rope_parameters.rope_type', { rope_parameters: { rope_type: 'dynamic', factor: 2 } }],
  ])('is refused for its %s in %j', (key, changed) => {
    for (const [name, family, json] of families) {
      // Qwen3's heads have a size of their own, whatever the hidden size.
      if (family === qwen3 && 'head_dim' in changed && changed.head_dim === undefined) continue
      expect(() => family.parse({ ...json, ...changed }), name).toThrow(refusal(key))
    }
  })

  test.each([
    ['attention_bias', 'Llama', { attention_bias: 'no' }],
    ['mlp_bias', 'Llama', { mlp_bias: 1 }],
    ['layer_types', 'Llama', { layer_types: ['full_attention', 'sliding_attention'] }],
    ['sliding_window', 'Mistral', { sliding_window: 0 }],
    ['layer_types', 'Mistral', { layer_types: ['full_attention', 'full_attention'] }],
    ['use_sliding_window', 'Qwen2', { use_sliding_window: 1 }],
    ['sliding_window', 'Qwen2', { use_sliding_window: true, sliding_window: -4 }],
    ['max_window_layers', 'Qwen2', { max_window_layers: -1 }],
    ['layer_types', 'Qwen2', { layer_types: ['full_attention'] }],
    ['layer_types', 'Qwen2', { layer_types: ['full_attention', 'sliding_attention'] }],
    ['layer_types.1', 'Qwen3', { layer_types: ['full_attention', 'linear_attention'] }],
    ['attention_bias', 'Qwen3', { attention_bias: null }],
  ])('is refused for its %s by %s: %j', (key, name, changed) => {
    const [, family, json] = families.find(([each]) => each === name)!
    expect(() => family.parse({ ...json, ...changed })).toThrow(refusal(key))
  })

  test.each<[object, (number | null)[]]>([
    [{ use_sliding_window: false, sliding_window: 8, max_window_layers: 0 }, [null, null]],
    [{ use_sliding_window: true, sliding_window: 8, max_window_layers: 1 }, [null, 8]],
    [{ use_sliding_window: true, sliding_window: null, max_window_layers: 0 }, [null, null]],
    [{ use_sliding_window: true, sliding_window: 8, layer_types: ['sliding_attention', 'full_attention'] }, [8, null]],
  ])('of Qwen2 and Qwen3 with %j has windows of %j tokens', (keys, windows) => {
    expect(qwen2.parse({ ...QWEN2, ...keys }).windows).toEqual(windows)
    expect(qwen3.parse({ ...QWEN3, ...keys }).windows).toEqual(windows)
  })
})

describe.each(families)('tensors of %s', (_, family, json) => {
  test.each([{}, { tie_word_embeddings: true }, { attention_bias: true, mlp_bias: true }])(
    'with %j are those that its graph reads',
    (keys) => {
      const config = family.parse({ ...json, ...keys })
      const read = new Map([...graphWeights(logitsGraph({ family, config }))].map(([name, { shape }]) => [name, shape]))
      expect(read).toEqual(family.tensors(config))
    },
  )

  test('that are matrices of a block are its linear layers, stored as [out, in]', () => {
    const config = family.parse(json)
    const matrices = [...family.tensors(config)].filter(([name, { length }]) => name.includes('.layers.') && length === 2)
    expect(family.linears(config).map((module) => [`${module.path}.weight`, [module.out, module.in]])).toEqual(matrices)
  })

  test('have one name, with and without the prefix that a model without a head lacks', () => {
    expect(family.rename('layers.0.mlp.up_proj.weight')).toBe('model.layers.0.mlp.up_proj.weight')
    expect(family.rename('model.layers.0.mlp.up_proj.weight')).toBe('model.layers.0.mlp.up_proj.weight')
    expect(family.rename('lm_head.weight')).toBe('lm_head.weight')
    expect(family.rename('model.layers.0.self_attn.rotary_emb.inv_freq')).toBeNull()
  })

  test('belong to a block by its absolute number', () => {
    expect(family.blockOf('model.layers.11.mlp.up_proj.weight')).toBe(11)
    expect(['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight'].map(family.blockOf)).toEqual([null, null, null])
  })

  test('are never transposed: their products with a gradient are flags', () => {
    const config = family.parse(json)
    const [, top] = cut(lossGraph({ family, config }, 0), [0])
    const joint = withLossGradients(top, [CUT_VALUE])
    const weights = new Set(joint.values.flatMap(({ source }, id) => (source.kind === 'weight' ? [id] : [])))
    expect(joint.nodes.filter((node) => node.op === 'gemm' && weights.has(node.inputs[1]!)).length).toBeGreaterThan(14)
    expect(joint.nodes.filter((node) => node.op === 'transpose' && weights.has(node.inputs[0]!))).toEqual([])
  })
})

describe('the logits are those of transformers', () => {
  const SMALL = { vocab_size: 5, hidden_size: 4, intermediate_size: 6, num_attention_heads: 2, max_position_embeddings: 16 }
  test('of a Llama with biases everywhere, heads of another size, another activation and epsilon', async () => {
    const json = {
      ...SMALL,
      model_type: 'llama',
      num_hidden_layers: 1,
      num_key_value_heads: 1,
      head_dim: 4,
      attention_bias: true,
      mlp_bias: true,
      hidden_act: 'gelu',
      rms_norm_eps: 1e-3,
    }
    await expectSineLogits(
      llama,
      json,
      [3, 0, 4],
      [
        0.26989328, -0.06798991, -0.18101094, 0.30462321, -0.2172191, 0.41963089, -0.13525042, -0.24281975, 0.45268558, -0.34897033,
        0.15617171, 0.11100102, -0.30128192, 0.28286099, -0.06849867,
      ],
    )
  })
  test('of a Qwen2 whose second block sees two tokens', async () => {
    const json = {
      ...SMALL,
      model_type: 'qwen2',
      num_hidden_layers: 2,
      num_key_value_heads: 1,
      use_sliding_window: true,
      sliding_window: 2,
      max_window_layers: 1,
      tie_word_embeddings: true,
    }
    await expectSineLogits(
      qwen2,
      json,
      [3, 0, 4, 1],
      [
        0.08505368, 0.23637409, -0.39406253, 0.27877882, 0.02961853, 0.06029993, 0.15778136, -0.26656549, 0.1906963, 0.01727064,
        -0.17528421, 0.2445906, -0.14446597, -0.05573209, 0.21732382, -0.09642606, 0.29797742, -0.29311603, 0.08520942, 0.18172285,
      ],
    )
  })
  test('of a Qwen3 whose first block sees two tokens, with biases', async () => {
    const json = {
      ...SMALL,
      model_type: 'qwen3',
      num_hidden_layers: 2,
      num_key_value_heads: 2,
      head_dim: 2,
      attention_bias: true,
      use_sliding_window: true,
      sliding_window: 2,
      layer_types: ['sliding_attention', 'full_attention'],
    }
    await expectSineLogits(
      qwen3,
      json,
      [3, 0, 4, 1],
      [
        -0.30806773, 0.02751058, 0.27210349, -0.383228, 0.22888559, -0.31249331, 0.04385177, 0.25516643, -0.37742759, 0.23823985,
        -0.10243573, -0.08542335, 0.21410857, -0.19447806, 0.04013012, -0.15459616, -0.07047854, 0.24673183, -0.25207085, 0.08279717,
      ],
    )
  })
})

function refusal(key: string): object {
  return expect.objectContaining({ code: 'MODEL_UNSUPPORTED', why: expect.stringContaining(`config.json, ${key}`) }) as object
}
