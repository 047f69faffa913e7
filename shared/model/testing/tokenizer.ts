/**
 * @file A tiny byte-level BPE tokenizer for tests: the 256 bytes, some merges, and an end-of-text token.
 */
import { createTokenizer, type Tokenizer, type TokenizerFiles } from '../tokenizer.js'

/** Merges in order of rank; `Ġ` is the space. */
const MERGES = ['t h', 'Ġ th', 'Ġth e', 'a n', 'Ġ a', 'i n', 'Ġ s', 'e r', 'Ġs t', 'Ġst a', 'Ã ©']
export const END_OF_TEXT = '<|endoftext|>'

/** GPT-2's byte alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on. */
function byteAlphabet(): string[] {
  let shifted = 0
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    return String.fromCharCode(printable ? byte : 0x100 + shifted++)
  })
}

/** The files that `createTokenizer` takes, and that a model folder holds. Ids: the bytes, the merges in order, end-of-text last. */
export function tinyTokenizerFiles(): TokenizerFiles & { tokenizer: object; config: object } {
  const vocabulary = [...byteAlphabet(), ...MERGES.map((merge) => merge.replace(' ', ''))]
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [
        { id: vocabulary.length, content: END_OF_TEXT, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
      ],
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: byteLevel,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        end_of_word_suffix: '',
        fuse_unk: false,
        vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
        merges: MERGES,
      },
    },
    config: { eos_token: END_OF_TEXT, bos_token: END_OF_TEXT, tokenizer_class: 'GPT2Tokenizer' },
  }
}

export function tinyTokenizer(): Tokenizer {
  return createTokenizer(tinyTokenizerFiles(), 'the tiny tokenizer')
}
