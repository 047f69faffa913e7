/**
 * @file JSONL files of rows: one JSON object a line, UTF-8, in the forms {"text"} and {"prompt", "completion"}, both with an optional "client" and "label".
 */
import { open } from 'node:fs/promises'
import { UserError } from '../shared/errors.js'
import type { DataSource, DataUnit } from './source.js'
import { tokeniseRow, type RowContent } from './tokenise.js'

/** What Node reads into one buffer. */
const MAX_FILE_BYTES = 2 ** 31 - 1
const LINE_FEED = 0x0a

/** A row as its file has it. Other keys than those of its form are allowed and mean nothing. */
export interface DataRow {
  /** From 1. */
  readonly line: number
  readonly client: string | null
  /** Its class, for partitions that go by it. */
  readonly label: string | null
  readonly content: RowContent
}

/** A form is recognised by these keys; those that are not built are refused by name. */
const FORMS = [
  { name: 'text', key: 'text', built: true },
  { name: 'prompt/completion', key: 'prompt', built: true },
  { name: 'messages', key: 'messages', built: false },
  { name: 'alpaca', key: 'instruction', built: false },
] as const

/**
 * All rows of a file, in its order.
 *
 * @throws UserError DATA_NOT_FOUND, DATA_EMPTY, and DATA_ROW_INVALID with file and line.
 */
export async function readRows(path: string): Promise<DataRow[]> {
  return parseRows(await readBytes(path), path)
}

/** The rows of a file as a data set: each row a unit, owned by its `client`. */
export function rowSource(rows: readonly DataRow[], file: string): DataSource {
  const units = rows.map(({ line, client, label, content }): DataUnit => ({
    owner: client,
    label,
    place: `${file}, line ${line}`,
    characters: content.kind === 'text' ? content.text.length : content.prompt.length + content.completion.length,
    tokenise: (tokenizer, options) => tokeniseRow(content, tokenizer, options),
  }))
  return { name: file, units }
}

/**
 * The rows in a file's bytes. A byte order mark, CRLF line ends and empty lines at the end are taken as they come.
 *
 * @param file what errors call it.
 */
export function parseRows(bytes: Uint8Array, file: string): DataRow[] {
  const rows: DataRow[] = []
  let emptyLine: number | null = null
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const end = bytes.indexOf(LINE_FEED, start)
    const text = decodeLine(bytes.subarray(start, end === -1 ? bytes.length : end), file, line)
    start = end === -1 ? bytes.length : end + 1
    if (text.trim() === '') {
      emptyLine ??= line
      continue
    }
    if (emptyLine !== null) throw invalid(file, emptyLine, 'the line is empty, and rows follow it')
    rows.push(parseRow(text, file, line))
  }
  if (rows.length === 0) {
    throw new UserError({
      code: 'DATA_EMPTY',
      what: `there are no rows in ${file}`,
      why: 'the file is empty',
      fix: 'put one JSON object on each line, as {"text": "..."}',
    })
  }
  return rows
}

/** One line at a time, so that an error can name it and no string grows too long. A decoder drops a byte order mark at its start. */
function decodeLine(bytes: Uint8Array, file: string, line: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: line > 1 }).decode(bytes)
  } catch {
    throw invalid(file, line, 'the line is not UTF-8', 'save the file as UTF-8')
  }
}

function parseRow(text: string, file: string, line: number): DataRow {
  const row = parseObject(text, file, line)
  const forms = FORMS.filter(({ key }) => Object.hasOwn(row, key))
  const planned = forms.find(({ built }) => !built)
  if (planned)
    throw invalid(
      file,
      line,
      `rows of the form ${planned.name} are planned, but not built`,
      'use rows of the form text or prompt/completion',
    )
  if (forms.length === 0) throw invalid(file, line, 'the row has neither "text" nor "prompt" and "completion"')
  if (forms.length > 1) throw invalid(file, line, 'the row has both "text" and "prompt"', 'leave one of them out')
  const stringAt = (key: string): string => {
    const value = row[key]
    if (!Object.hasOwn(row, key)) throw invalid(file, line, `the row has no "${key}"`)
    if (typeof value !== 'string') throw invalid(file, line, `"${key}" is not a string`)
    if (value === '') throw invalid(file, line, `"${key}" is empty`)
    return value
  }
  const client = row.client === undefined ? null : stringAt('client')
  const label = labelOf(row.label, file, line)
  if (forms[0].name === 'text') return { line, client, label, content: { kind: 'text', text: stringAt('text') } }
  return { line, client, label, content: { kind: 'prompt', prompt: stringAt('prompt'), completion: stringAt('completion') } }
}

/** A class by name or number. */
function labelOf(value: unknown, file: string, line: number): string | null {
  if (value === undefined) return null
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'string') throw invalid(file, line, '"label" is neither a string nor a number')
  if (value === '') throw invalid(file, line, '"label" is empty')
  return value
}

function parseObject(text: string, file: string, line: number): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalid(file, line, `the line is not JSON (${error instanceof Error ? error.message : String(error)})`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(file, line, 'the line is JSON, but not an object')
  return value as Record<string, unknown>
}

function invalid(
  file: string,
  line: number,
  why: string,
  fix = 'write {"text": "..."} or {"prompt": "...", "completion": "..."} there, or take the line out',
): UserError {
  return new UserError({ code: 'DATA_ROW_INVALID', what: `${file}, line ${line}: the row cannot be used`, why, fix })
}

async function readBytes(path: string): Promise<Uint8Array> {
  const notFound = (why: string, cause?: unknown): UserError =>
    new UserError(
      { code: 'DATA_NOT_FOUND', what: `the data in ${path} cannot be read`, why, fix: 'give the path of a JSONL file that you may read' },
      { cause },
    )
  const handle = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw notFound(error.code === 'ENOENT' ? 'there is no such file' : `it cannot be opened (${error.code ?? error.message})`, error)
  })
  try {
    const stats = await handle.stat()
    if (stats.isDirectory()) throw notFound('it is a folder')
    if (stats.size > MAX_FILE_BYTES) throw notFound(`it has ${stats.size} bytes, and ${MAX_FILE_BYTES} are the most that one file may have`)
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}
