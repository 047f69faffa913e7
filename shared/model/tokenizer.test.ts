import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { llama2TokenizerJson, llama3TokenizerJson, metaspaceTokenizerJson } from './testing/llama-tokenizers.js'
import { END_OF_TEXT, tinyTokenizer, tinyTokenizerFiles } from './testing/tokenizer.js'
import { createTokenizer } from './tokenizer.js'

describe('encoding', () => {
  // Python's tokenizers 0.23.3, Tokenizer.from_file of the same tokenizer.json, encode(text).ids.
  test.each([
    ['the state of the union', [256, 101, 265, 116, 101, 32, 111, 102, 258, 32, 117, 110, 105, 111, 110]],
    [
      "Don't  stop — é,\n\nin 1945!",
      [68, 111, 110, 39, 116, 32, 264, 111, 112, 32, 226, 128, 148, 32, 266, 44, 10, 10, 261, 32, 49, 57, 52, 53, 33],
    ],
    ['a<|endoftext|> thé', [97, 267, 257, 266]],
  ])('gives the ids that Python gives for %j', (text, ids) => {
    const tokenizer = tinyTokenizer()
    expect([...tokenizer.encode(text, { specialTokens: true })]).toEqual(ids)
    expect(tokenizer.decode(ids)).toBe(text)
  })

  test('decoding gives the text back, spaces before punctuation included, and bytes are counted exactly', () => {
    const tokenizer = tinyTokenizer()
    const utf8 = new TextEncoder()
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.stringMatching(/^[ the.,?'é]*$/)), (text) => {
        const ids = tokenizer.encode(text, { specialTokens: false })
        expect(tokenizer.decode(ids)).toBe(text)
        expect(tokenizer.textBytes(ids)).toBe(utf8.encode(text).length)
      }),
    )
    expect(tokenizer.decode(tokenizer.encode("he did n't stop , did he ?", { specialTokens: false }))).toBe("he did n't stop , did he ?")
  })

  test('a character cut in two still counts its bytes, and special tokens count none', () => {
    const tokenizer = tinyTokenizer()
    const ids = tokenizer.encode('—', { specialTokens: false })
    expect([...ids]).toHaveLength(3)
    expect(tokenizer.textBytes(ids.subarray(0, 2))).toBe(2)
    expect(tokenizer.textBytes([267, 97])).toBe(1)
    expect(tokenizer.decode([97, 267], { skipSpecialTokens: true })).toBe('a')
    expect(tokenizer.decode([])).toBe('')
  })

  test('text is counted by decoding where the tokenizer is not byte-level', () => {
    const { tokenizer: json, config } = tinyTokenizerFiles()
    const fused = createTokenizer(
      { tokenizer: { ...json, decoder: { type: 'Sequence', decoders: [{ type: 'ByteLevel' }] } }, config },
      'fused',
    )
    expect(fused.textBytes([...fused.encode('né', { specialTokens: false }), 267])).toBe(3)
  })

  test('special tokens that the tokenizer puts around a text come only when asked for', () => {
    const { tokenizer: json, config } = tinyTokenizerFiles()
    const special = { id: END_OF_TEXT, ids: [267], tokens: [END_OF_TEXT] }
    const single = [{ SpecialToken: { id: END_OF_TEXT, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }]
    const template = { type: 'TemplateProcessing', single, pair: [], special_tokens: { [END_OF_TEXT]: special } }
    const tokenizer = createTokenizer({ tokenizer: { ...json, post_processor: template }, config }, 'with bos')
    expect([...tokenizer.encode('an', { specialTokens: true })]).toEqual([267, 259])
    expect([...tokenizer.encode('an', { specialTokens: false })]).toEqual([259])
  })

  // AutoTokenizer of transformers 5.23 does so for GPT2TokenizerFast, LlamaTokenizerFast, Qwen2TokenizerFast and PreTrainedTokenizerFast.
  test.each(['GPT2TokenizerFast', 'LlamaTokenizerFast', 'PreTrainedTokenizerFast'])(
    'what %s puts around a text is what tokenizer.json says, whatever add_bos_token and add_eos_token say',
    (tokenizer_class) => {
      const { tokenizer: json, config } = tinyTokenizerFiles()
      const asking = createTokenizer(
        { tokenizer: json, config: { ...config, tokenizer_class, add_bos_token: true, add_eos_token: true } },
        'x',
      )
      expect([...asking.encode('an', { specialTokens: true })]).toEqual([259])
      const declining = { ...config, tokenizer_class, add_bos_token: false }
      expect([
        ...createTokenizer({ tokenizer: llama3TokenizerJson(), config: declining }, 'x').encode('', { specialTokens: true }),
      ]).toEqual([268])
    },
  )
})

describe("a Llama's tokenizer", () => {
  // Python's tokenizers 0.23.3, Tokenizer.from_str of the same tokenizer.json: encode(text).ids and decode(ids).
  test.each<[string, object, string, number[], string]>([
    ['Llama 2', llama2TokenizerJson(), 'the state an é', [1, 268, 269, 260, 264, 260, 262, 271, 259, 198, 172], 'the state an é'],
    ['Llama 2', llama2TokenizerJson(), '<s>the  stan</s> t', [1, 1, 268, 259, 269, 260, 270, 2, 259, 266], 'the  stan  t'],
    ['Llama 2', llama2TokenizerJson(), 'sé\n', [1, 269, 198, 172, 13], 'sé\n'],
    ['Mistral', metaspaceTokenizerJson(), 'the state an é', [1, 268, 269, 260, 264, 260, 262, 271, 259, 198, 172], 'the state an é'],
    ['Mistral', metaspaceTokenizerJson(), '<s>the  stan</s> t', [1, 1, 260, 261, 262, 259, 269, 260, 270, 2, 266], 'the  stan t'],
    [
      'Llama 3',
      llama3TokenizerJson(),
      'the state of 12345',
      [268, 256, 101, 267, 32, 111, 102, 32, 49, 50, 51, 52, 53],
      'the state of 12345',
    ],
    [
      'Llama 3',
      llama3TokenizerJson(),
      "DON'T  stop — é,\n\nin",
      [268, 68, 79, 78, 39, 84, 32, 264, 111, 112, 32, 226, 128, 148, 32, 266, 44, 10, 10, 261],
      "DON'T  stop — é,\n\nin",
    ],
  ])('as %s has it gives the ids that Python gives, its first token included', (name, json, text, ids, decoded) => {
    const tokenizer = createTokenizer({ tokenizer: json, config: {} }, name)
    expect([...tokenizer.encode(text, { specialTokens: true })]).toEqual(ids)
    expect([...tokenizer.encode(text, { specialTokens: false })]).toEqual(ids.slice(1))
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded)
  })
})

describe('special ids', () => {
  const { tokenizer, config } = tinyTokenizerFiles()

  test('come from the tokenizer config first, as a name or as an object', () => {
    expect(tinyTokenizer()).toMatchObject({ eosId: 267, bosId: 267, vocabSize: 268 })
    expect(createTokenizer({ tokenizer, config: { eos_token: { content: END_OF_TEXT } } }, 'x')).toMatchObject({ eosId: 267, bosId: null })
    expect(createTokenizer({ tokenizer, config, model: { eos_token_id: 3 } }, 'x').eosId).toBe(267)
  })

  test('come from the other files where it names none, and the first of a list counts', () => {
    expect(createTokenizer({ tokenizer, specialTokens: { eos_token: END_OF_TEXT } }, 'x').eosId).toBe(267)
    expect(
      createTokenizer({ tokenizer, model: { eos_token_id: null }, generation: { eos_token_id: [5, 6], bos_token_id: 4 } }, 'x'),
    ).toMatchObject({ eosId: 5, bosId: 4 })
    expect(createTokenizer({ tokenizer }, 'x')).toMatchObject({ eosId: null, bosId: null })
  })
})

describe('bad files', () => {
  const { tokenizer } = tinyTokenizerFiles()

  test.each([
    ['a list', []],
    ['no model', { added_tokens: [], decoder: null }],
    ['an added token without an id', { ...tokenizer, added_tokens: [{ content: 'x', special: true }] }],
  ])('%s is refused with the file that is wrong', (_, json) => {
    expect(() => createTokenizer({ tokenizer: json }, 'some-model')).toThrow(
      expect.objectContaining({
        code: 'MODEL_CORRUPT',
        what: expect.stringContaining('some-model') as string,
        why: expect.stringContaining('tokenizer.json') as string,
      }),
    )
  })

  test('a kind of tokenizer that is not known is refused by name', () => {
    const json = { ...tokenizer, decoder: { type: 'Telepathy' } }
    expect(() => createTokenizer({ tokenizer: json }, 'm')).toThrow(
      expect.objectContaining({ code: 'MODEL_UNSUPPORTED', why: expect.stringContaining('Telepathy') as string }),
    )
  })
})
