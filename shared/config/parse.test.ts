import { describe, expect, test } from 'vitest'
import { UserError } from '../errors.js'
import { KNOWN_KEYS, nearestKey } from './known-keys.js'
import { NOT_BUILT } from './not-built.js'
import { parseConfig } from './parse.js'

function refusal(raw: unknown): UserError {
  try {
    parseConfig(raw, 'run.yaml')
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('an unknown key', () => {
  test.each([
    [{ learning_rate: 1 }, 'train.learning_rate'],
    [{ train: { learning_rte: 1 } }, 'train.learning_rate'],
    [{ train: { lr: 1 } }, 'train.learning_rate'],
    [{ lora: { alpha: 16 } }, 'lora.lora_alpha'],
    [{ lora: { rank: 4 } }, 'lora.r'],
    [{ federation: { 'num-rounds': 3 } }, 'federation.num_rounds'],
    [{ trian: { learning_rate: 1 } }, 'train'],
    [{ train: { cut_layer: 1 } }, 'split.cut_layer'],
    [{ constructor: {} }, undefined],
  ])('in %j is refused, and the nearest key is named', (raw, nearest) => {
    const error = refusal(raw)
    expect(error.code).toBe('CONFIG_UNKNOWN_KEY')
    if (nearest !== undefined) expect(error.fix).toBe(`did you mean ${nearest}?`)
  })

  test('gets a known key as its nearest, whatever it is', () => {
    const known = new Set([...KNOWN_KEYS].flatMap(([group, keys]) => [group, ...keys.map((key) => `${group}.${key}`)]))
    for (const key of ['x', '', '__proto__', 'toString', 'ünïcode', 'model', 'epochs', 'name'])
      expect(known).toContain(nearestKey(key, null))
  })
})

describe('a wrong value', () => {
  test.each([
    [{ train: { learning_rate: 'fast' } }, 'train.learning_rate', 'it says "fast", and a number is expected'],
    [{ train: { optim: 'lion' } }, 'train.optim', 'it says "lion", and adamw or sgd is expected'],
    [{ lora: { r: 0 } }, 'lora.r', 'it says 0, and a number of at least 1 is expected'],
    [{ lora: { r: 2.5 } }, 'lora.r', 'it says 2.5, and a whole number is expected'],
    [{ lora: { lora_alpha: 0 } }, 'lora.lora_alpha', 'it says 0, and a number above 0 is expected'],
    [{ train: { warmup_ratio: 2 } }, 'train.warmup_ratio', 'it says 2, and a number of at most 1 is expected'],
    [{ train: { learning_rate: NaN } }, 'train.learning_rate', 'it says NaN, and a number is expected'],
    [
      { lora: { target_modules: 3 } },
      'lora.target_modules',
      'it says 3, and a list of module names, a pattern for their paths, or all-linear is expected',
    ],
    [
      { lora: { target_modules: [3] } },
      'lora.target_modules',
      'it says [3], and a list of module names, a pattern for their paths, or all-linear is expected',
    ],
    [
      { lora: { target_modules: '(?<=h).*' } },
      'lora.target_modules',
      'it says "(?<=h).*", and a pattern that can be read (it has lookbehind, (?<=, which is not read) is expected',
    ],
    [
      { lora: { rank_pattern: { 'c_(attn': 4 } } },
      'lora.rank_pattern',
      'it says {"c_(attn":4}, and keys that are module names or patterns for their paths (in c_(attn, a group is not closed) is expected',
    ],
    [{ lora: { rank_pattern: { c_attn: 0 } } }, 'lora.rank_pattern.c_attn', 'it says 0, and a number of at least 1 is expected'],
    [{ lora: { alpha_pattern: { c_attn: -1 } } }, 'lora.alpha_pattern.c_attn', 'it says -1, and a number above 0 is expected'],
    [
      { transport: { activation_codec: 3 } },
      'transport.activation_codec',
      'it says 3, and the name of a codec such as int8 or delta+int4+zstd, or auto; or a mapping from client ids, and default, to such names is expected',
    ],
    [
      { transport: { gradient_codec: { 'a b': 'int8' } } },
      'transport.gradient_codec',
      `it says {"a b":"int8"}, and the name of a codec such as int8 or delta+int4+zstd, or auto; or a mapping from client ids, and default, to such names (a b is no client's id) is expected`,
    ],
    [{ transport: { codec_loss_budget: -1 } }, 'transport.codec_loss_budget', 'it says -1, and a number of at least 0 is expected'],
    [{ data: { shuffle: 'yes' } }, 'data.shuffle', 'it says "yes", and true or false is expected'],
    [
      { federation: { num_clients: 2, min_replies: 3 } },
      'federation.min_replies',
      'it says 3, and at most 2, because federation.num_clients is 2 is expected',
    ],
  ])('in %j is refused with what it says and what is expected', (raw, key, why) => {
    expect(refusal(raw).report()).toEqual({
      code: 'CONFIG_VALUE',
      what: `run.yaml has a wrong value for ${key}`,
      why,
      fix: `correct ${key}`,
    })
  })

  test('is not the only one named where there are several', () => {
    expect(refusal({ train: { optim: 'lion', seed: -1 } }).fix).toBe('correct train.optim, and then train.seed')
  })

  test.each([[[]], ['text'], [3], [{ train: [] }], [{ train: 3 }], [{ privacy: 'none' }]])('%j is no config', (raw) => {
    expect(refusal(raw).code).toBe('CONFIG_VALUE')
  })
})

test.each([[null], [undefined], [{}], [{ train: null }]])('%j gives the defaults', (raw) => {
  expect(parseConfig(raw)).toEqual(parseConfig({}))
})

describe('a value that is planned but not built', () => {
  test.each([
    ['model.precision', { model: { precision: 'int8' } }],
    ['split.cut_layer', { split: { cut_layer: { 'client-0': 1 } } }],
    ['split.tail_layers', { split: { tail_layers: 1 } }],
    ['lora.init_lora_weights', { lora: { init_lora_weights: false } }],
    ['federation.strategy', { federation: { strategy: 'fedprox' } }],
    ['privacy', { privacy: { epsilon: 8 } }],
    ['output.report_to', { output: { report_to: 'tensorboard' } }],
  ])('of %s is refused by name', (key, raw) => {
    const error = refusal(raw)
    expect(error.code).toBe('CONFIG_NOT_BUILT')
    expect(error.why).toMatch(new RegExp(`^${key}: .* is planned, but not built$`))
  })

  test('is tested above for every entry of the table', () => {
    expect(NOT_BUILT).toHaveLength(7)
  })

  test('is never a default', () => {
    expect(parseConfig(parseConfig({}))).toEqual(parseConfig({}))
  })
})
