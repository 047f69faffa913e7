/**
 * @file Conversations as tokens, by the tokenizer's chat template: the same text that transformers renders, and which of it the
 * assistant says.
 *
 * That is told by the template's {% generation %} blocks, or else by how the text grows from message to message.
 */
import { Template } from '@huggingface/jinja'
import { UserError } from '../shared/errors.js'
import type { ChatTemplate } from '../shared/model/chat-template.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'

/** Further keys, as `tool_calls`, are the template's. */
export interface ChatMessage {
  readonly role: string
  readonly content: string
  readonly [key: string]: unknown
}

/** From the first character to the one after the last, in UTF-16 units. */
interface Span {
  readonly start: number
  readonly end: number
}

export interface RenderedChat {
  readonly text: string
  /** What the assistant says, in order and apart. */
  readonly spans: readonly Span[]
}

const GENERATION_TAG = /\{%(-?)\s*(?:end)?generation\s*(-?)%\}/g

/**
 * A conversation's text, without a prompt for a further answer.
 *
 * @param place where the conversation stands, for errors, as "rows.jsonl, line 3".
 * @throws UserError TOKENIZER_MISSING without a chat template, DATA_ROW_INVALID where the template refuses the conversation, or does not
 * show which of it the assistant says.
 */
export function renderChat(messages: readonly ChatMessage[], { chat }: Pick<Tokenizer, 'chat'>, place: string): RenderedChat {
  if (chat === null) {
    throw new UserError({
      code: 'TOKENIZER_MISSING',
      what: 'rows of messages cannot be written as text',
      why: "the model's tokenizer has no chat template",
      fix: 'use a model that was trained to chat, add chat_template.jinja to its folder, or write the rows as prompt and completion',
    })
  }
  const text = render(chat, messages, place)
  const spans =
    chat.template.search(GENERATION_TAG) !== -1 ? markedSpans(chat, messages, text, place) : grownSpans(chat, messages, text, place)
  if (!spans.some(({ start, end }) => end > start)) {
    throw unclear(place, 'the text that the chat template makes of it holds nothing that the assistant says')
  }
  return { text, spans }
}

/** The ids of a rendered conversation, whose template writes the special tokens; 1 where a token has a character of a span in it. */
export function chatTokens({ text, spans }: RenderedChat, tokenizer: Tokenizer, place: string): { ids: Int32Array; scored: Uint8Array } {
  const ids = tokenizer.encode(text, { specialTokens: false })
  const scored = new Uint8Array(ids.length)
  const bounds = tokenBounds(ids, text, tokenizer, place)
  for (const { start, end } of spans) {
    if (end > start) scored.fill(1, bounds(start).before, bounds(end).after)
  }
  return { ids, scored }
}

/** Tokens that end at or before a character, and tokens that begin before it: these differ where it lies inside a token. */
type Bounds = (at: number) => { readonly before: number; readonly after: number }

function tokenBounds(ids: Int32Array, text: string, tokenizer: Tokenizer, place: string): Bounds {
  const utf8 = new TextEncoder()
  const bytesBefore = (at: number): number => utf8.encode(text.slice(0, at)).length
  const ends: number[] = []
  for (const bytes of tokenizer.tokenBytes(ids) ?? []) ends.push((ends.at(-1) ?? 0) + bytes)
  if (ends.at(-1) === bytesBefore(text.length)) {
    return (at) => {
      const bytes = bytesBefore(at)
      return { before: countBelow(ends, bytes + 1), after: Math.min(ids.length, bytes === 0 ? 0 : countBelow(ends, bytes) + 1) }
    }
  }
  // The tokenizer changes text before it cuts it, so tokens are counted: the ids of the text up to there have to be the first ones.
  return (at) => {
    const first = tokenizer.encode(text.slice(0, at), { specialTokens: false })
    if (first.some((id, position) => ids[position] !== id)) {
      throw unclear(place, "one token spans the border between what the assistant says and what the others say, or the template's own text")
    }
    return { before: first.length, after: first.length }
  }
}

/** How many of these rising numbers are below `limit`. */
function countBelow(rising: readonly number[], limit: number): number {
  let [low, high] = [0, rising.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (rising[middle] < limit) low = middle + 1
    else high = middle
  }
  return low
}

/** Each {% generation %} writes a mark where it begins and ends; marks are then taken out of the text. */
function markedSpans(chat: ChatTemplate, messages: readonly ChatMessage[], text: string, place: string): Span[] {
  const mark = unusedMark(text + chat.template)
  // A block that is always entered writes the mark, and strips the white space around it as the tag would have.
  const template = chat.template.replace(GENERATION_TAG, (_, left: string, right: string) => {
    return `{%${left} if true %}{{ '${mark}' }}{% endif ${right}%}`
  })
  const pieces = render({ ...chat, template }, messages, place).split(mark)
  if (pieces.join('') !== text || pieces.length % 2 === 0) {
    throw unclear(place, "the chat template's {% generation %} blocks are used in a way that cannot be followed")
  }
  const spans: Span[] = []
  let at = 0
  pieces.forEach((piece, index) => {
    if (index % 2 === 1) spans.push({ start: at, end: at + piece.length })
    at += piece.length
  })
  return spans
}

/** Private-use characters that the text does not hold. */
function unusedMark(text: string): string {
  let mark = '\ue000'
  while (text.includes(mark)) mark += '\ue001'
  return mark
}

/** An assistant's turn is what its message adds to the text that asks for an answer, as long as each text begins as the one before it. */
function grownSpans(chat: ChatTemplate, messages: readonly ChatMessage[], text: string, place: string): Span[] {
  return messages.flatMap(({ role }, index) => {
    if (role !== 'assistant') return []
    const before = render(chat, messages.slice(0, index), place, true)
    const through = index + 1 === messages.length ? text : render(chat, messages.slice(0, index + 1), place)
    if (!through.startsWith(before) || !text.startsWith(through)) {
      throw unclear(
        place,
        'the chat template has no {% generation %} block, and writes earlier messages otherwise once later ones follow, so that the ' +
          `answer of message ${index + 1} cannot be told from the rest`,
      )
    }
    return [{ start: before.length, end: through.length }]
  })
}

/** Parsing takes longer than rendering; a template and its marked form are all that a run uses. */
const parsed = new Map<string, Template>()
const MAX_PARSED = 16

function render(chat: ChatTemplate, messages: readonly ChatMessage[], place: string, asksForAnswer = false): string {
  const template = parsed.get(chat.template) ?? parse(chat.template)
  try {
    return template.render({ ...chat.specialTokens, messages, tools: null, documents: null, add_generation_prompt: asksForAnswer })
  } catch (error) {
    throw unclear(place, `the model's chat template refuses it (${error instanceof Error ? error.message : String(error)})`, error)
  }
}

function parse(text: string): Template {
  try {
    const template = new Template(text)
    if (parsed.size >= MAX_PARSED) parsed.clear()
    parsed.set(text, template)
    return template
  } catch (error) {
    throw new UserError(
      {
        code: 'MODEL_UNSUPPORTED',
        what: "the model's chat template cannot be used",
        why: error instanceof Error ? error.message : String(error),
        fix: 'put a simpler chat_template.jinja into its folder, or write the rows as prompt and completion',
      },
      { cause: error },
    )
  }
}

function unclear(place: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'DATA_ROW_INVALID',
      what: `${place}: the conversation cannot be used`,
      why,
      fix: "write it as the model's chat template wants it (roles in turn), or as prompt and completion",
    },
    { cause },
  )
}
