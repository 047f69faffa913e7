/**
 * @file Rows and documents as tokens: what is scored, where eos goes, what is cut.
 */
import type { Tokenizer } from '../shared/model/tokenizer.js'
import type { TokenRow } from '../shared/train/rows.js'
import { chatTokens, renderChat, type ChatMessage } from './chat.js'
import type { Tokenised, TokeniseOptions } from './source.js'

/** What a row says, apart from where it comes from. */
export type RowContent =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'prompt'; readonly prompt: string; readonly completion: string }
  /** `place` is where they stand, for what only a tokenizer finds wrong with them. */
  | { readonly kind: 'messages'; readonly messages: readonly ChatMessage[]; readonly place: string }

/**
 * One row as tokens.
 *
 * `text`: ids = the text with the tokenizer's special tokens, then eos; every position but the first is scored.
 * `prompt`: ids = the prompt with special tokens, the completion without, then eos; the completion and eos are scored, or all but the
 * first without `completionOnlyLoss`.
 * `messages`: ids = the text that the tokenizer's chat template makes of them, which holds the special tokens, then eos; the assistant's
 * turns are scored, and eos where it follows one.
 * Eos is not added where the tokens already end with it; in a chat, white space may follow it. What is longer than `maxLength` is cut
 * at the end, and a row left without a scored token is dropped.
 *
 * @throws UserError TOKENIZER_MISSING, MODEL_UNSUPPORTED or DATA_ROW_INVALID for messages that the chat template does not take.
 */
export function tokeniseRow(content: RowContent, tokenizer: Tokenizer, { maxLength, completionOnlyLoss }: TokeniseOptions): Tokenised {
  if (content.kind === 'messages') return tokeniseMessages(content, tokenizer, maxLength)
  const prompt = tokenizer.encode(content.kind === 'text' ? content.text : content.prompt, { specialTokens: true })
  const completion = content.kind === 'text' ? new Int32Array(0) : tokenizer.encode(content.completion, { specialTokens: false })
  const whole = withEos(joined(prompt, completion), tokenizer)
  const firstScored = content.kind === 'prompt' && completionOnlyLoss ? prompt.length : 1
  const row = scoredFrom(whole.slice(0, maxLength), firstScored, tokenizer)
  return { rows: row ? [row] : [], truncated: whole.length > maxLength ? 1 : 0, dropped: row ? 0 : 1 }
}

function tokeniseMessages(
  { messages, place }: Extract<RowContent, { kind: 'messages' }>,
  tokenizer: Tokenizer,
  maxLength: number,
): Tokenised {
  const chat = renderChat(messages, tokenizer, place)
  const { ids, scored } = chatTokens(chat, tokenizer, place)
  const whole = endsWithEos(ids, tokenizer) ? ids : withEos(ids, tokenizer)
  const flags = new Uint8Array(whole.length)
  flags.set(scored)
  // Eos that is added belongs to the turn before it.
  if (whole.length > ids.length) flags[ids.length] = messages.at(-1)?.role === 'assistant' ? 1 : 0
  flags[0] = 0
  const row = { ids: whole.slice(0, maxLength), scored: flags.slice(0, maxLength) }
  const truncated = whole.length > maxLength ? 1 : 0
  if (!row.scored.includes(1)) return { rows: [], truncated, dropped: 1 }
  const bytes = tokenizer.textBytes(row.ids.filter((_, position) => row.scored[position] === 1))
  return { rows: [{ ...row, bytes }], truncated, dropped: 0 }
}

/** Whether nothing but white space follows the last eos, as the line end of ChatML. */
function endsWithEos(ids: Int32Array, { eosId, decode }: Tokenizer): boolean {
  const last = eosId === null ? -1 : ids.lastIndexOf(eosId)
  return last !== -1 && decode(ids.subarray(last + 1)).trim() === ''
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
