/**
 * @file Tiny tokenizers of the two kinds that Llama-shaped models carry, as their tokenizer.json has them. Both put a first token before a text.
 */
import { tinyTokenizerFiles } from './tokenizer.js'

function specialToken(id: number, content: string): object {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}

/** What puts `token` before a text. */
function template(token: string, id: number): object {
  const first = { SpecialToken: { id: token, type_id: 0 } }
  const single = [first, { Sequence: { id: 'A', type_id: 0 } }]
  const special = { id: token, ids: [id], tokens: [token] }
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { [token]: special },
  }
}

const PIECES = ['▁', 't', 'h', 'e', 's', 'a', 'n', '▁t', '▁th', '▁the', '▁s', 'an', '▁an', 'st', '▁st']

/** Of Llama 1 and 2 and Mistral: spaces are `▁`, one of them before each text; what has no token is written as bytes. Ids: special, bytes, pieces. */
export function llama2TokenizerJson(): object {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const vocabulary = ['<unk>', '<s>', '</s>', ...bytes, ...PIECES]
  const replaced = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => specialToken(id, content)),
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replaced] },
    pre_tokenizer: null,
    post_processor: template('<s>', 1),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: ['▁ t', '▁t h', '▁th e', '▁ s', 'a n', '▁ an', 's t', '▁ st'],
    },
  }
}

/** As llama2TokenizerJson, in the newer spelling of the same rule, which leaves texts after a special token without a space. */
export function metaspaceTokenizerJson(): object {
  return {
    ...llama2TokenizerJson(),
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
  }
}

const LLAMA3_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** Of Llama 3: byte-level, words that are whole tokens without merges, and a first token 268. */
export function llama3TokenizerJson(): object {
  const { tokenizer } = tinyTokenizerFiles()
  const { model } = tokenizer as { model: { vocab: Record<string, number> } }
  const word = Object.keys(model.vocab).length
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
  return {
    ...tokenizer,
    added_tokens: [specialToken(word + 1, '<|begin_of_text|>')],
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Split', pattern: { Regex: LLAMA3_SPLIT }, behavior: 'Isolated', invert: false }, byteLevel],
    },
    post_processor: { type: 'Sequence', processors: [byteLevel, template('<|begin_of_text|>', word + 1)] },
    model: { ...model, ignore_merges: true, vocab: { ...model.vocab, Ġstate: word } },
  }
}
