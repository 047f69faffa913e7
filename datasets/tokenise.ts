/**
 * @file Rows and documents as tokens: what is scored, where eos goes, what is cut.
 */
import type { Tokenizer } from '../shared/model/tokenizer.js'
import type { TokenRow } from '../shared/train/rows.js'
import type { Tokenised, TokeniseOptions } from './source.js'

/** What a row says, apart from where it comes from. */
export type RowContent =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'prompt'; readonly prompt: string; readonly completion: string }

/**
 * One row as tokens.
 *
 * `text`: ids = the text with the tokenizer's special tokens, then eos; every position but the first is scored.
 * `prompt`: ids = the prompt with special tokens, the completion without, then eos; the completion and eos are scored, or all but the
 * first without `completionOnlyLoss`. Eos is not added where the tokens already end with it. What is longer than `maxLength` is cut at
 * the end, and a row left without a scored token is dropped.
 */
export function tokeniseRow(content: RowContent, tokenizer: Tokenizer, { maxLength, completionOnlyLoss }: TokeniseOptions): Tokenised {
  const prompt = tokenizer.encode(content.kind === 'text' ? content.text : content.prompt, { specialTokens: true })
  const completion = content.kind === 'text' ? new Int32Array(0) : tokenizer.encode(content.completion, { specialTokens: false })
  const whole = withEos(joined(prompt, completion), tokenizer)
  const firstScored = content.kind === 'prompt' && completionOnlyLoss ? prompt.length : 1
  const row = scoredFrom(whole.slice(0, maxLength), firstScored, tokenizer)
  return { rows: row ? [row] : [], truncated: whole.length > maxLength ? 1 : 0, dropped: row ? 0 : 1 }
}

/**
 * A document as consecutive windows of `maxLength` tokens, each a row whose first token is not scored; eos ends the last one.
 * A last window of one token has nothing to score and is dropped.
 */
export function tokeniseDocument(text: string, tokenizer: Tokenizer, { maxLength }: Pick<TokeniseOptions, 'maxLength'>): Tokenised {
  const ids = withEos(tokenizer.encode(text, { specialTokens: true }), tokenizer)
  const rows: TokenRow[] = []
  let dropped = 0
  for (let start = 0; start < ids.length; start += maxLength) {
    const row = scoredFrom(ids.slice(start, start + maxLength), 1, tokenizer)
    if (row) rows.push(row)
    else dropped++
  }
  return { rows, truncated: 0, dropped }
}

/** The row whose tokens are scored from `firstScored` on, but never the first; null when there is no such token. */
function scoredFrom(ids: Int32Array, firstScored: number, tokenizer: Tokenizer): TokenRow | null {
  const first = Math.max(1, firstScored)
  if (ids.length <= first) return null
  return {
    ids,
    scored: new Uint8Array(ids.length).fill(1, first),
    bytes: tokenizer.textBytes(ids) - tokenizer.textBytes(ids.subarray(0, first)),
  }
}

function withEos(ids: Int32Array, { eosId }: Tokenizer): Int32Array {
  return eosId === null || ids.at(-1) === eosId ? ids : joined(ids, Int32Array.of(eosId))
}

function joined(first: Int32Array, second: Int32Array): Int32Array {
  const both = new Int32Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}
