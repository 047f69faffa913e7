import { describe, expect, test } from 'vitest'
import { gpt2 } from './gpt2.js'
import { familyOf } from './index.js'

describe('familyOf', () => {
  test.each([
    ['a language model', { architectures: ['GPT2LMHeadModel'] }],
    ['a model without a head, whose head is its embedding', { architectures: ['GPT2Model'] }],
    ['a config.json that names no class', {}],
    ['keys that are written but not set', { architectures: null, quantization_config: null, auto_map: {} }],
  ])('finds the family of %s', (_, keys) => {
    expect(familyOf({ model_type: 'gpt2', ...keys })).toBe(gpt2)
  })

  test.each([[null], ['gpt2'], [[]], [{}], [{ model_type: 2 }]])('calls %j corrupt, which names no model_type', (config) => {
    expect(() => familyOf(config)).toThrow(expect.objectContaining({ code: 'MODEL_CORRUPT', why: expect.stringContaining('model_type') }))
  })

  test.each([
    ['a type that no family reads', { model_type: 'mamba' }, /type mamba .*supported types are gpt2/],
    ['a class with another head', { architectures: ['GPT2ForSequenceClassification'] }, /GPT2ForSequenceClassification .*architectures/],
    ['a class with a second head', { architectures: ['GPT2DoubleHeadsModel'] }, /GPT2DoubleHeadsModel .*architectures/],
    ['quantized weights', { quantization_config: { quant_method: 'bitsandbytes', load_in_8bit: true } }, /quantization_config/],
    ['code of its own', { auto_map: { AutoModelForCausalLM: 'modeling.Mine' } }, /auto_map/],
  ])('refuses %s by name', (_, keys, words) => {
    const refused = (): unknown => familyOf({ model_type: 'gpt2', ...keys })
    expect(refused).toThrow(expect.objectContaining({ code: 'MODEL_UNSUPPORTED' }))
    expect(refused).toThrow(words)
  })
})
