/**
 * @file The forms of a row: {"text"}, {"prompt", "completion"}, {"messages"}, and alpaca's {"instruction", "input", "output"}, all with
 * an optional "client" and "label". Other keys mean nothing.
 */
import { UserError } from '../shared/errors.js'
import type { ChatMessage } from './chat.js'
import type { RowContent } from './tokenise.js'

/** A row as a line of JSONL or a data set of the user's own has it. */
export type RowObject = (
  | { readonly text: string }
  | { readonly prompt: string; readonly completion: string }
  | { readonly messages: readonly ChatMessage[] }
  | { readonly instruction: string; readonly input?: string; readonly output: string }
) & {
  /** Whose it is, for the partition `natural`. */
  readonly client?: string
  /** Its class, for the partitions `dirichlet` and `shard`. */
  readonly label?: string | number | boolean
}

/** A row as its file has it. */
export interface DataRow {
  /** From 1: where it stands, or, of a file of code, which one it is. */
  readonly line: number
  readonly client: string | null
  /** Its class, for partitions that go by it. */
  readonly label: string | null
  readonly content: RowContent
}

/** A row's place in a file. */
export interface RowPlace {
  readonly file: string
  /** From 1. */
  readonly line: number
  /** What is counted: lines, unless the file is one of code, which gives rows. */
  readonly unit?: PlaceUnit
}

export type PlaceUnit = 'line' | 'row'

type Fields = Readonly<Record<string, unknown>>

/** A form is recognised by its first key. */
const FORMS: readonly { readonly key: string; readonly read: (row: Fields, place: RowPlace) => RowContent }[] = [
  { key: 'text', read: (row, place) => ({ kind: 'text', text: textAt(row, 'text', place) }) },
  {
    key: 'prompt',
    read: (row, place) => ({ kind: 'prompt', prompt: textAt(row, 'prompt', place), completion: textAt(row, 'completion', place) }),
  },
  {
    key: 'messages',
    read: (row, place) => ({ kind: 'messages', messages: messagesAt(row, place), place: placeName(place) }),
  },
  { key: 'instruction', read: alpaca },
]

/**
 * One row, by the keys that it has.
 * @throws UserError DATA_ROW_INVALID with file and line.
 */
export function parseRow(row: Fields, place: RowPlace): DataRow {
  const forms = FORMS.filter(({ key }) => Object.hasOwn(row, key))
  if (forms.length === 0)
    throw invalidRow(place, 'the row has neither "text" nor "prompt" and "completion" nor "messages" nor "instruction" and "output"')
  const [form, other] = forms
  if (other) throw invalidRow(place, `the row has both "${form.key}" and "${other.key}"`, 'leave one of them out')
  return {
    line: place.line,
    client: row.client === undefined ? null : textAt(row, 'client', place),
    label: labelOf(row.label, place),
    content: form.read(row, place),
  }
}

/** As "rows.jsonl, line 3". */
export function placeName({ file, line, unit = 'line' }: RowPlace): string {
  return `${file}, ${unit} ${line}`
}

export function invalidRow(
  place: RowPlace,
  why: string,
  fix = 'write {"text": "..."} or {"prompt": "...", "completion": "..."} there, or take the line out',
): UserError {
  return new UserError({ code: 'DATA_ROW_INVALID', what: `${placeName(place)}: the row cannot be used`, why, fix })
}

function textAt(row: Fields, key: string, place: RowPlace): string {
  const value = row[key]
  if (!Object.hasOwn(row, key)) throw invalidRow(place, `the row has no "${key}"`)
  if (typeof value !== 'string') throw invalidRow(place, `"${key}" is not a string`)
  if (value === '') throw invalidRow(place, `"${key}" is empty`)
  return value
}

/** A class by name or number. */
function labelOf(value: unknown, place: RowPlace): string | null {
  if (value === undefined) return null
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'string') throw invalidRow(place, '"label" is neither a string nor a number')
  if (value === '') throw invalidRow(place, '"label" is empty')
  return value
}

const MESSAGES_FIX = 'write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'

function messagesAt(row: Fields, place: RowPlace): ChatMessage[] {
  const { messages } = row
  if (!Array.isArray(messages)) throw invalidRow(place, '"messages" is not a list', MESSAGES_FIX)
  const read = messages.map((message: unknown, index): ChatMessage => {
    const called = `message ${index + 1}`
    if (typeof message !== 'object' || message === null || Array.isArray(message))
      throw invalidRow(place, `${called} is not an object`, MESSAGES_FIX)
    // As transformers does: a key without a value is a key that is not there.
    const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null))
    const { role, content } = fields
    if (typeof role !== 'string' || role === '') throw invalidRow(place, `"role" of ${called} is not a name`, MESSAGES_FIX)
    if (typeof content !== 'string') throw invalidRow(place, `"content" of ${called} is not a string`, MESSAGES_FIX)
    if (content === '' && role === 'assistant') throw invalidRow(place, `"content" of ${called} is empty`, MESSAGES_FIX)
    return { ...fields, role, content }
  })
  if (!read.some(({ role }) => role === 'assistant')) throw invalidRow(place, "no message is the assistant's", MESSAGES_FIX)
  return read
}

/**
 * Alpaca's two templates, which its models were trained with, as prompt; the output is the completion.
 * Source: Taori et al. 2023, Stanford Alpaca, github.com/tatsu-lab/stanford_alpaca, PROMPT_DICT of train.py.
 */
function alpaca(row: Fields, place: RowPlace): RowContent {
  const instruction = textAt(row, 'instruction', place)
  const completion = textAt(row, 'output', place)
  const input = Object.hasOwn(row, 'input') ? row.input : ''
  if (typeof input !== 'string') throw invalidRow(place, '"input" is not a string')
  const prompt =
    input === ''
      ? 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
        `### Instruction:\n${instruction}\n\n### Response:`
      : 'Below is an instruction that describes a task, paired with an input that provides further context. ' +
        'Write a response that appropriately completes the request.\n\n' +
        `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`
  return { kind: 'prompt', prompt, completion }
}
