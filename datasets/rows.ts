/**
 * @file Files of rows: JSONL, one JSON object a line in UTF-8, or CSV where the name ends so.
 */
import { open } from 'node:fs/promises'
import { UserError, unreachable } from '../shared/errors.js'
import { parseCsvRows } from './csv.js'
import type { DataSource, DataUnit } from './source.js'
import { invalidRow, parseRow, placeName, type DataRow, type PlaceUnit } from './row-forms.js'
import { tokeniseRow, type RowContent } from './tokenise.js'

/** What Node reads into one buffer. */
const MAX_FILE_BYTES = 2 ** 31 - 1
const LINE_FEED = 0x0a

/**
 * All rows of a file, in its order.
 *
 * @throws UserError DATA_NOT_FOUND, DATA_EMPTY, and DATA_ROW_INVALID with file and line.
 */
export async function readRows(path: string): Promise<DataRow[]> {
  const bytes = await readBytes(path)
  return /\.csv$/i.test(path) ? parseCsvRows(bytes, path) : parseRows(bytes, path)
}

/** The rows of a file as a data set: each row a unit, owned by its `client`. */
export function rowSource(rows: readonly DataRow[], file: string, unit: PlaceUnit = 'line'): DataSource {
  const units = rows.map(({ line, client, label, content }): DataUnit => ({
    owner: client,
    label,
    place: placeName({ file, line, unit }),
    characters: charactersOf(content),
    // Only the tokenizer's chat template can tell whether it takes a conversation.
    isTrial: content.kind === 'messages',
    tokenise: (tokenizer, options) => tokeniseRow(content, tokenizer, options),
  }))
  return { name: file, units }
}

function charactersOf(content: RowContent): number {
  switch (content.kind) {
    case 'text':
      return content.text.length
    case 'prompt':
      return content.prompt.length + content.completion.length
    case 'messages':
      return content.messages.reduce((sum, { content: said }) => sum + said.length, 0)
    default:
      return unreachable('a form of row without a size')
  }
}

/**
 * The rows in the bytes of a JSONL file. A byte order mark, CRLF line ends and empty lines at the end are taken as they come.
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
    if (emptyLine !== null) throw invalidRow({ file, line: emptyLine }, 'the line is empty, and rows follow it')
    rows.push(parseRow(parseObject(text, file, line), { file, line }))
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
    throw invalidRow({ file, line }, 'the line is not UTF-8', 'save the file as UTF-8')
  }
}

function parseObject(text: string, file: string, line: number): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalidRow({ file, line }, `the line is not JSON (${error instanceof Error ? error.message : String(error)})`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidRow({ file, line }, 'the line is JSON, but not an object')
  return value as Record<string, unknown>
}

async function readBytes(path: string): Promise<Uint8Array> {
  const notFound = (why: string, cause?: unknown): UserError =>
    new UserError(
      {
        code: 'DATA_NOT_FOUND',
        what: `the data in ${path} cannot be read`,
        why,
        fix: 'give the path of a JSONL file or CSV file that you may read',
      },
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
