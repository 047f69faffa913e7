/**
 * @file What one step trains on: windows at random places of the whole corpus as one line of tokens.
 */
import type { TextDocument } from '../../datasets/corpus.js'
import { UserError, unreachable } from '../../shared/errors.js'
import type { Tokenizer } from '../../shared/model/tokenizer.js'
import { derive } from '../../shared/random.js'
import type { TokenRow } from '../../shared/train/rows.js'

/** All documents in their order, each ended by eos. i32 [tokens]. */
export function tokenStream(documents: readonly TextDocument[], tokenizer: Tokenizer): Int32Array {
  const eosId = tokenizer.eosId ?? unreachable('the tokenizer has no eos')
  const parts = documents.map(({ text }) => tokenizer.encode(text, { specialTokens: false }))
  const stream = new Int32Array(parts.reduce((sum, part) => sum + part.length + 1, 0))
  let at = 0
  for (const part of parts) {
    stream.set(part, at)
    at += part.length
    stream[at++] = eosId
  }
  return stream
}

/**
 * The windows of a step, a function of seed and step alone; they may cross from one document to the next. All but a window's first
 * token are scored.
 *
 * @throws UserError DATA_EMPTY if the stream is shorter than one window.
 */
export function windowsOf(stream: Int32Array, seed: number, step: number, count: number, tokens: number): TokenRow[] {
  if (stream.length < tokens)
    throw new UserError({
      code: 'DATA_EMPTY',
      what: 'the corpus is too short to train on',
      why: `it has ${stream.length} tokens, and a window takes ${tokens}`,
      fix: 'shorten train.window_tokens',
    })
  const random = derive(seed, 'windows', step)
  const scored = new Uint8Array(tokens).fill(1, 1)
  return Array.from({ length: count }, () => {
    const start = random.below(stream.length - tokens + 1)
    return { ids: stream.slice(start, start + tokens), scored, bytes: 0 }
  })
}
