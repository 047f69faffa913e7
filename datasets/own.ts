/**
 * @file A data set of the user's own: the default export of a JavaScript file. It is rows in the forms of a JSONL file, as a list, an iterable,
 * or a function or generator that gives them, now or later; or whole units that make their own tokens (own-units.ts).
 *
 * Every process of a run reads it for itself, so it has to give the same rows in the same order each time.
 */
import { UserError } from '../shared/errors.js'
import { importOwnModule, threw, unusable, type OwnModuleRole } from '../shared/own-module.node.js'
import { ownUnits } from './own-units.js'
import { invalidRow, parseRow, type DataRow } from './row-forms.js'
import { rowSource } from './rows.js'
import type { DataSource } from './source.js'

const ROLE: OwnModuleRole = {
  kind: 'data set',
  code: 'DATA_SET_FAILED',
  notFound: 'DATA_NOT_FOUND',
  wanted: "export default async function* rows() { yield { text: '...' } }",
}

/** A generator that never ends would fill the memory. */
const MOST_ROWS = 10_000_000

/**
 * The data set that a file's default export gives.
 *
 * @param path one that whoever runs this process named, never one that came over the network: the file is run.
 * @throws UserError DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, and DATA_ROW_INVALID with the file and the row's number.
 */
export async function ownSource(path: string): Promise<DataSource> {
  const { value } = await importOwnModule(path, ROLE)
  try {
    const given: unknown = typeof value === 'function' ? await (value as () => unknown)() : value
    if (isIterable(given)) return await rowsInMemory(given, path)
    if (typeof given === 'object' && given !== null && 'units' in given) return ownUnits(given.units, path)
  } catch (cause) {
    throw cause instanceof UserError ? cause : threw(path, ROLE, 'giving its rows', cause)
  }
  throw unusable(path, ROLE, 'its default export gives neither rows nor { units }', `write it as: ${ROLE.wanted}`)
}

/**
 * Rows that a program has at hand, as a data set.
 * @param name what errors call it.
 * @throws UserError DATA_EMPTY, DATA_ROW_INVALID
 */
export async function rowsInMemory(rows: Iterable<unknown> | AsyncIterable<unknown>, name: string): Promise<DataSource> {
  return rowSource(await readAll(rows, name), name, 'row')
}

async function readAll(given: Iterable<unknown> | AsyncIterable<unknown>, file: string): Promise<DataRow[]> {
  const rows: DataRow[] = []
  for await (const value of given) {
    const place = { file, line: rows.length + 1, unit: 'row' } as const
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalidRow(place, 'it is not an object', ROW_FIX)
    if (rows.length === MOST_ROWS)
      throw invalidRow(place, `it comes after ${MOST_ROWS} others, which are the most that there may be`, ROW_FIX)
    rows.push(parseRow(value as Readonly<Record<string, unknown>>, place))
  }
  if (rows.length > 0) return rows
  throw new UserError({
    code: 'DATA_EMPTY',
    what: `there are no rows in ${file}`,
    why: 'its default export gives none',
    fix: `write it as: ${ROLE.wanted}`,
  })
}

const ROW_FIX = "give objects such as { text: '...' } or { prompt: '...', completion: '...' }, and only as many as there are"

function isIterable(value: unknown): value is Iterable<unknown> | AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)
}
