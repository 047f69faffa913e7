/**
 * @file The files that a client may fetch from its server: their names, from a list that is closed, and how much of one it asks for at once.
 */
import { z } from 'zod'

/** What a client reads beside the weights: its architecture, and what turns its rows into tokens. All are optional but config.json. */
export const TEXT_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
] as const

/** Files of the prepared-weights cache; see `fileOf` in families/family.ts. */
const WEIGHTS_FILE = /^(?:embedding|head|block-(?:0|[1-9]\d{0,4}))\.bin$/

/** Neither end opens a path that the other names: a name outside this list is an ill-formed message. */
export const ModelFileName = z
  .string()
  .refine((name) => WEIGHTS_FILE.test(name) || TEXT_FILES.some((known) => known === name), 'it is no file of a model')

export function isWeightsFile(name: string): boolean {
  return WEIGHTS_FILE.test(name)
}

/** Neither end holds more of a file than a few of these at a time. */
export const MAX_PIECE_BYTES = 2 * 2 ** 20

/** The largest vocabularies in use have tokenizers of some 35 MB. */
export const MAX_TEXT_FILE_BYTES = 256 * 2 ** 20
