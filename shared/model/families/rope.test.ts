import { describe, expect, test } from 'vitest'
import { llama } from './llama.js'
import type { Rope } from './rope-frequencies.js'

/** A Llama of 2 heads of 16 numbers, as config.json says it. */
function ropeOf(keys: object): Rope {
  const sizes = {
    vocab_size: 8,
    hidden_size: 32,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 64,
  }
  return llama.parse({ model_type: 'llama', ...sizes, ...keys }).rope
}

const LLAMA3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, rope_theta: 10000 }
const YARN = { rope_type: 'yarn', rope_theta: 10000, factor: 4, original_max_position_embeddings: 16 }
const PLAIN = [1, 0.31622776389, 0.10000000149, 0.0316227786243, 0.00999999977648, 0.00316227786243, 0.0010000000475, 0.000316227786243]
const LINEAR = [
  0.333333343267, 0.105409257114, 0.0333333350718, 0.0105409258977, 0.00333333318122, 0.00105409265961, 0.000333333358867,
  0.000105409264306,
]
const LLAMA3_512 = [
  1, 0.31622776389, 0.10000000149, 0.0184966772795, 0.00124999997206, 0.000395284732804, 0.000125000005937, 0.0000395284732804,
]

describe('rotary frequencies are those of transformers', () => {
  // LlamaRotaryEmbedding's inv_freq and attention_scaling for the same config.json (transformers 5.23, PyTorch 2.13), float32.
  test.each<[string, object, number[], number]>([
    ['none given', {}, PLAIN, 1],
    [
      'theta at the top level',
      { rope_theta: 500000, rope_scaling: null },
      [1, 0.193922758102, 0.0376060307026, 0.00729266507551, 0.00141421344597, 0.000274248188362, 0.0000531829573447, 0.0000103133852463],
      1,
    ],
    [
      'heads of 24',
      { hidden_size: 48, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } },
      [
        1, 0.316227763891, 0.0999999940395, 0.0316227786243, 0.00999999884516, 0.00316227809526, 0.0010000000475, 0.000316227844451,
        0.000099999968367, 0.0000316227742587, 0.0000100000033854, 0.00000316227692565,
      ],
      1,
    ],
    ['linear', { rope_parameters: { rope_type: 'linear', factor: 3, rope_theta: 10000 } }, LINEAR, 1],
    ['linear, in the older form', { rope_scaling: { type: 'linear', factor: 3 }, rope_theta: 10000 }, LINEAR, 1],
    ['theta among the parameters, which goes before the one outside', { rope_parameters: { rope_theta: 10000 }, rope_theta: 5 }, PLAIN, 1],
    [
      'rope_scaling, which goes before rope_parameters',
      { rope_scaling: { type: 'linear', factor: 3 }, rope_parameters: { rope_theta: 7 } },
      LINEAR,
      1,
    ],
    ['an empty rope_scaling, which is none', { rope_scaling: {}, rope_parameters: { rope_theta: 10000 } }, PLAIN, 1],
    [
      'llama3 as Llama 3.2 has it',
      {
        rope_scaling: { ...LLAMA3, rope_theta: undefined, factor: 32, original_max_position_embeddings: 8192 },
        rope_theta: 500000,
        max_position_embeddings: 131072,
      },
      [1, 0.193922758102, 0.0376060307026, 0.00729266507551, 0.000429556705058, 0.0000085702558863, 0.00000166196741702, 3.22293288946e-7],
      1,
    ],
    [
      'llama3, the original positions at the top level before those inside',
      {
        rope_parameters: { ...LLAMA3, original_max_position_embeddings: 8192 },
        original_max_position_embeddings: 512,
        max_position_embeddings: 131072,
      },
      LLAMA3_512,
      1,
    ],
    ['llama3, the original positions those of the model', { rope_parameters: LLAMA3, max_position_embeddings: 512 }, LLAMA3_512, 1],
    [
      'yarn as Qwen documents it',
      { rope_parameters: { ...YARN, rope_theta: 1e6, original_max_position_embeddings: 32768 }, max_position_embeddings: 32768 },
      [
        1, 0.177827939391, 0.0316227786243, 0.00421755993739, 0.000500000023749, 0.0000444569850515, 0.00000790569356468,
        0.00000140585336794,
      ],
      1.138629436111989,
    ],
    [
      'yarn from very short texts',
      { rope_parameters: YARN },
      [1, 0.0790569409728, 0.0250000003725, 0.00790569465607, 0.00249999994412, 0.000790569465607, 0.000250000011874, 0.0000790569465607],
      1.138629436111989,
    ],
    [
      'yarn with scales, betas and bounds that are not whole',
      {
        rope_parameters: {
          ...YARN,
          factor: 40,
          original_max_position_embeddings: 4096,
          mscale: 0.707,
          mscale_all_dim: 1,
          beta_fast: 16,
          beta_slow: 2,
          truncate: false,
        },
        max_position_embeddings: 163840,
      },
      [1, 0.31622776389, 0.10000000149, 0.0316227786243, 0.00579010462388, 0.000123952457216, 0.00002499999936845, 0.00000790569447418],
      0.9210423553163399,
    ],
    [
      'yarn, the factor worked out of the positions, and a scale of its own',
      {
        rope_parameters: { ...YARN, factor: null, original_max_position_embeddings: 1024, attention_factor: 1.5 },
        max_position_embeddings: 8192,
      },
      [1, 0.31622776389, 0.078125, 0.0177878122777, 0.00343749998135, 0.000395284732804, 0.000125000005937, 0.0000395284732804],
      1.5,
    ],
    ['yarn by a factor of 1', { rope_parameters: { ...YARN, factor: 1, original_max_position_embeddings: 1024 } }, PLAIN, 1],
  ])('%s', (_, keys, frequencies, scale) => {
    const rope = ropeOf(keys)
    expect(rope.scale).toBeCloseTo(scale, 14)
    expect(rope.frequencies).toHaveLength(frequencies.length)
    // The last bit of a float32 is 6e-8 of it.
    frequencies.forEach((value, i) => expect(Math.abs(rope.frequencies[i] / value - 1), `frequency ${i}`).toBeLessThan(1e-7))
  })
})

describe('a rotary embedding is refused', () => {
  test.each<[string, object]>([
    ['rope_scaling.rope_type: dynamic', { rope_scaling: { type: 'dynamic', factor: 2 } }],
    ['rope_parameters.rope_type: dynamic', { rope_parameters: { rope_type: 'dynamic', factor: 2 } }],
    ['rope_parameters.rope_type: longrope', { rope_parameters: { rope_type: 'longrope', short_factor: [1], long_factor: [1] } }],
    ['rope_parameters.rope_type: proportional', { rope_parameters: { rope_type: 'proportional' } }],
    ['rope_parameters.rope_type: constructor', { rope_parameters: { rope_type: 'constructor' } }],
    ['rope_parameters.rope_type: 3', { rope_parameters: { rope_type: 3 } }],
    ['rope_parameters', { rope_parameters: 'llama3' }],
    ['rope_theta', { rope_theta: 0 }],
    ['rope_parameters.rope_theta', { rope_parameters: { rope_theta: '10000' } }],
    ['partial_rotary_factor', { partial_rotary_factor: 0.5 }],
    ['rope_parameters.partial_rotary_factor', { rope_parameters: { rope_theta: 10000, partial_rotary_factor: 0.25 } }],
    ['rope_parameters: Unrecognized key: "mrope_section"', { rope_parameters: { rope_theta: 10000, mrope_section: [4, 2, 2] } }],
    ['rope_parameters: Unrecognized key: "full_attention"', { rope_parameters: { full_attention: { rope_theta: 10000 } } }],
    ['rope_parameters: Unrecognized key: "factor"', { rope_parameters: { rope_type: 'default', factor: 4 } }],
    ['rope_scaling.factor', { rope_scaling: { type: 'linear' } }],
    ['rope_scaling.factor', { rope_scaling: { type: 'linear', factor: -1 } }],
    ['rope_parameters.low_freq_factor', { rope_parameters: { ...LLAMA3, low_freq_factor: undefined } }],
    ['rope_parameters.high_freq_factor', { rope_parameters: { ...LLAMA3, high_freq_factor: 1 } }],
    ['rope_parameters.original_max_position_embeddings', { rope_parameters: { ...LLAMA3, original_max_position_embeddings: 0 } }],
    ['original_max_position_embeddings', { rope_parameters: LLAMA3, original_max_position_embeddings: 1.5 }],
    ['rope_parameters.factor', { rope_parameters: { ...YARN, factor: undefined } }],
    ['rope_parameters.attention_factor', { rope_parameters: { ...YARN, attention_factor: 0 } }],
    ['rope_parameters.beta_fast', { rope_parameters: { ...YARN, beta_fast: 'fast' } }],
    ['rope_parameters.beta_slow', { rope_parameters: { ...YARN, beta_slow: -1 } }],
    ['rope_parameters.mscale', { rope_parameters: { ...YARN, mscale: '1' } }],
    ['rope_parameters.truncate', { rope_parameters: { ...YARN, truncate: 0 } }],
    ['head_dim', { head_dim: 15 }],
  ])('for its %s: %j', (key, keys) => {
    expect(() => ropeOf(keys)).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', why: expect.stringContaining(`config.json, ${key}`) }),
    )
  })
})
