/**
 * @file CSV files of rows: a first line that names the columns as the keys of a JSONL row, then one row each; RFC 4180, UTF-8.
 */
import { CsvError, parse } from 'csv-parse/sync'
import { z } from 'zod'
import { UserError } from '../shared/errors.js'
import { invalidRow, parseRow, type DataRow } from './row-forms.js'

/** The text is held whole, with every cell of it. */
const MAX_FILE_BYTES = 2 ** 28
const LINE_ENDS = /\r\n|\n|\r/g
const LINE_FEED = 0x0a
const FIX = 'write the file as a spreadsheet or pandas does: commas between cells, and quotes around cells with commas, quotes or line ends'

/** Columns that a row may leave empty. */
const OPTIONAL_COLUMNS = new Set(['client', 'label', 'input'])

/** What the parser gives with `raw`; its types tell only of the rows alone. */
const Parsed = z.array(z.object({ record: z.array(z.string()), raw: z.string() }))

interface CsvRecord {
  /** The line where it begins, from 1. */
  readonly line: number
  readonly cells: readonly string[]
  readonly isEmptyLine: boolean
}

/**
 * The rows in a file's bytes. Columns that no form of row knows mean nothing, and so do empty lines at the end.
 *
 * @param file what errors call it.
 * @throws UserError DATA_EMPTY, DATA_NOT_FOUND for a file too large, and DATA_ROW_INVALID with file and line.
 */
export function parseCsvRows(bytes: Uint8Array, file: string): DataRow[] {
  if (bytes.length > MAX_FILE_BYTES) {
    throw new UserError({
      code: 'DATA_NOT_FOUND',
      what: `the data in ${file} cannot be read`,
      why: `it has ${bytes.length} bytes, and ${MAX_FILE_BYTES} are the most that a CSV file may have`,
      fix: 'write the rows as JSONL',
    })
  }
  const [header, ...records] = readRecords(decode(bytes, file).replace(/[\r\n]+$/, ''), file)
  if (!header || records.length === 0) {
    throw new UserError({
      code: 'DATA_EMPTY',
      what: `there are no rows in ${file}`,
      why: header ? 'nothing follows the line that names the columns' : 'the file is empty',
      fix: 'name the columns in the first line, as text, or prompt,completion, and put one row on each line after it',
    })
  }
  const columns = header.cells.map((name) => name.trim())
  const twice = columns.find((name, column) => columns.indexOf(name) !== column)
  if (twice !== undefined) throw invalidRow({ file, line: 1 }, `two columns are called "${twice}"`, 'rename one of them')
  return records.map(({ line, cells, isEmptyLine }) => {
    const place = { file, line }
    if (isEmptyLine) throw invalidRow(place, 'the line is empty, and rows follow it', 'take the line out')
    if (cells.length !== columns.length)
      throw invalidRow(place, `it has ${cells.length} cells, and the first line names ${columns.length} columns`, FIX)
    const named = columns.map((name, column) => [name, cells[column]] as const)
    return parseRow(Object.fromEntries(named.filter(([name, cell]) => cell !== '' || !OPTIONAL_COLUMNS.has(name))), place)
  })
}

/** Rows of unequal length pass, so that the caller can name their lines. */
function readRecords(text: string, file: string): CsvRecord[] {
  let line = 1
  return parsed(text, file).map(({ record, raw }) => {
    const begins = line
    // Counted here: the parser takes a CRLF inside of quotes for two lines.
    line += raw.match(LINE_ENDS)?.length ?? 0
    return { line: begins, cells: record, isEmptyLine: raw.trim() === '' }
  })
}

function parsed(text: string, file: string): { record: string[]; raw: string }[] {
  try {
    return Parsed.parse(parse(text, { raw: true, relax_column_count: true }))
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    // With lines that it counts rightly, it names the right one.
    if (text.includes('\r\n')) return parsed(text.replaceAll('\r\n', '\n'), file)
    const { lines } = error
    throw invalidRow({ file, line: typeof lines === 'number' ? lines : 1 }, `the file is not CSV from there on (${error.message})`, FIX)
  }
}

function decode(bytes: Uint8Array, file: string): string {
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })
  try {
    return utf8.decode(bytes)
  } catch {
    // A line feed is no part of any other UTF-8 character, so lines can be tried one by one.
    for (let start = 0, line = 1; ; line++) {
      const end = bytes.indexOf(LINE_FEED, start)
      try {
        utf8.decode(bytes.subarray(start, end === -1 ? bytes.length : end))
      } catch {
        throw invalidRow({ file, line }, 'the line is not UTF-8', 'save the file as UTF-8')
      }
      if (end === -1) throw invalidRow({ file, line }, 'the file is not UTF-8', 'save the file as UTF-8')
      start = end + 1
    }
  }
}
