/**
 * @file Text to token ids and back, as Hugging Face's fast tokenizers do it. Runs in a browser: files are read in `tokenizer.node.ts`.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { z } from 'zod'
import { UserError } from '../errors.js'
import { chatTemplateOf, type ChatTemplate } from './chat-template.js'

/** Parsed files of a model folder; all but the first may be missing. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: unknown
  /** tokenizer_config.json */
  readonly config?: unknown
  /** special_tokens_map.json */
  readonly specialTokens?: unknown
  /** config.json */
  readonly model?: unknown
  /** generation_config.json */
  readonly generation?: unknown
  /** The text of chat_template.jinja */
  readonly chatTemplate?: unknown
}

export interface Tokenizer {
  /**
   * The ids of a text. Time is linear in its length.
   * @param specialTokens whether to add those that the tokenizer puts around a text, as bos; never eos for GPT-2.
   */
  encode(text: string, options: { readonly specialTokens: boolean }): Int32Array
  /** The text of some ids, special tokens included unless left out. Bytes that are no UTF-8 come out as U+FFFD. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string
  /** UTF-8 bytes of the text of some ids; special tokens are no text. Exact for byte-level tokenizers, also where ids cut a character. */
  textBytes(ids: ArrayLike<number>): number
  /** UTF-8 bytes that each token stands for in the text it was made from, special tokens included; null where tokens are not made of bytes. */
  tokenBytes(ids: ArrayLike<number>): readonly number[] | null
  /** How the model is used to see a conversation; null where its files do not say. */
  readonly chat: ChatTemplate | null
  /** The token that ends a text; null where the model names none. */
  readonly eosId: number | null
  readonly bosId: number | null
  /** One more than the highest id. */
  readonly vocabSize: number
}

const TokenizerJson = z.looseObject({
  model: z.looseObject({}),
  decoder: z.looseObject({ type: z.string() }).nullable(),
  added_tokens: z.array(z.looseObject({ id: z.int().nonnegative(), content: z.string(), special: z.boolean() })),
})
const NamedToken = z.union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)]).nullish()
const NamedTokens = z.looseObject({ eos_token: NamedToken, bos_token: NamedToken, clean_up_tokenization_spaces: z.boolean().nullish() })
const Id = z.int().nonnegative()
const TokenIds = z.looseObject({
  eos_token_id: z.union([Id, z.array(Id).min(1)]).nullish(),
  bos_token_id: z.union([Id, z.array(Id).min(1)]).nullish(),
})

/**
 * @param source what errors call the tokenizer: its folder or model name.
 * @throws UserError MODEL_CORRUPT for files of another shape, MODEL_UNSUPPORTED for a kind of tokenizer that is not known here.
 */
export function createTokenizer(files: TokenizerFiles, source: string): Tokenizer {
  const json = shaped(TokenizerJson, files.tokenizer, 'tokenizer.json', source)
  const config = shaped(NamedTokens, files.config ?? {}, 'tokenizer_config.json', source)
  const named = shaped(NamedTokens, files.specialTokens ?? {}, 'special_tokens_map.json', source)
  const model = shaped(TokenIds, files.model ?? {}, 'config.json', source)
  const generation = shaped(TokenIds, files.generation ?? {}, 'generation_config.json', source)
  const inner = construct(json, config, source)

  const special = new Set(json.added_tokens.filter((token) => token.special).map((token) => token.id))
  const added = new Map(json.added_tokens.map((token) => [token.id, token.content]))
  const highestId = Math.max(-1, ...added.keys(), (inner.model?.vocab.length ?? 0) - 1)
  const specialId = (which: 'eos' | 'bos'): number | null => {
    const name = config[`${which}_token`] ?? named[`${which}_token`]
    const byName = name ? inner.token_to_id(name) : undefined
    const byId = model[`${which}_token_id`] ?? generation[`${which}_token_id`] ?? null
    return byName ?? (Array.isArray(byId) ? byId[0] : byId)
  }
  // The package would clean up unless told not to; transformers 5 does so only for a tokenizer that asks for it.
  const cleanUp = config.clean_up_tokenization_spaces ?? false
  const decode: Tokenizer['decode'] = (ids, { skipSpecialTokens = false } = {}) =>
    ids.length === 0 ? '' : inner.decode(Array.from(ids), { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: cleanUp })

  // A byte-level vocabulary writes each byte as one character, so a token has as many bytes as characters.
  const byteLevel = json.decoder?.type === 'ByteLevel'
  const tokenBytes = (id: number): number => {
    const content = added.get(id)
    return content === undefined ? (inner.id_to_token(id) ?? '').length : utf8Length(content)
  }

  return {
    encode(text, { specialTokens }) {
      const ids: (number | undefined)[] = inner.encode(text, { add_special_tokens: specialTokens }).ids
      if (ids.includes(undefined))
        throw unsupported(source, 'its vocabulary has no token for some of the text, and it names no unknown token', undefined)
      return Int32Array.from(ids as number[])
    },
    decode,
    textBytes(ids) {
      if (!byteLevel) return utf8Length(decode(ids, { skipSpecialTokens: true }))
      return Array.from(ids).reduce((sum, id) => sum + (special.has(id) ? 0 : tokenBytes(id)), 0)
    },
    tokenBytes: (ids) => (byteLevel ? Array.from(ids, tokenBytes) : null),
    chat: chatTemplateOf(files),
    eosId: specialId('eos'),
    bosId: specialId('bos'),
    vocabSize: highestId + 1,
  }
}

const utf8 = new TextEncoder()
const utf8Length = (text: string): number => utf8.encode(text).length

function shaped<Schema extends z.ZodType>(schema: Schema, value: unknown, file: string, source: string): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw new UserError({
    code: 'MODEL_CORRUPT',
    what: `the tokenizer of ${source} cannot be used`,
    why: `${file} is not what it should be${issue.path.length > 0 ? ` at ${issue.path.join('.')}` : ''}: ${issue.message}`,
    fix: 'download the model again, or save its tokenizer again with transformers',
  })
}

function construct(json: object, config: object, source: string): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer(json, config)
  } catch (cause) {
    throw unsupported(source, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function unsupported(source: string, why: string, cause: unknown): UserError {
  return new UserError(
    {
      code: 'MODEL_UNSUPPORTED',
      what: `the tokenizer of ${source} cannot be used`,
      why,
      fix: 'use a model whose tokenizer.json is of a common kind, as a byte-level BPE',
    },
    { cause },
  )
}
