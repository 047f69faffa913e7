/**
 * @file Data sets of the user's own that make their tokens themselves: checks their units, and the rows that these make.
 */
import { UserError } from '../shared/errors.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import { scoredTokens, type TokenRow } from '../shared/train/rows.js'
import type { DataSource, DataUnit, Tokenised, TokeniseOptions } from './source.js'

type Fields = Readonly<Record<string, unknown>>

/**
 * @param units each with `tokenise(tokenizer, options)`, which answers { rows: [{ ids, scored }] }, and perhaps `owner`, `label` and `characters`.
 * @throws UserError DATA_ROW_INVALID, DATA_EMPTY; tokenising throws DATA_ROW_INVALID too.
 */
export function ownUnits(units: unknown, file: string): DataSource {
  if (!Array.isArray(units) || units.length === 0)
    throw new UserError({
      code: 'DATA_EMPTY',
      what: `there are no rows in ${file}`,
      why: 'its units are not a list of at least one',
      fix: 'give { units: [{ tokenise(tokenizer, { maxLength }) { ... } }] }',
    })
  return { name: file, units: units.map((unit: unknown, index) => ownUnit(unit, `${file}, unit ${index + 1}`)) }
}

function ownUnit(unit: unknown, place: string): DataUnit {
  if (!isFields(unit)) throw invalidUnit(place, 'it is not an object')
  const { owner = null, label = null, characters = 1, tokenise } = unit
  if (typeof tokenise !== 'function') throw invalidUnit(place, 'it has no function called tokenise')
  if (!isName(owner) || !isName(label)) throw invalidUnit(place, 'its owner or its label is neither a text nor null')
  if (typeof characters !== 'number' || !(characters >= 0 && characters < Infinity))
    throw invalidUnit(place, 'its characters are not a number of at least 0')
  return {
    ...{ owner, label, place, characters },
    isTrial: true,
    tokenise(tokenizer, options) {
      const answer = calling(place, () => (tokenise as (...given: unknown[]) => unknown).call(unit, tokenizer, options))
      return checkedRows(answer, tokenizer, options, place)
    },
  }
}

function calling(place: string, call: () => unknown): unknown {
  try {
    return call()
  } catch (cause) {
    throw invalidUnit(place, `tokenise threw ${cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)}`, cause)
  }
}

/** Rows that are too long are cut, and those without a scored token left out, as for any other data set. */
function checkedRows(answer: unknown, tokenizer: Tokenizer, { maxLength }: TokeniseOptions, place: string): Tokenised {
  if (!isFields(answer) || !Array.isArray(answer.rows)) throw invalidUnit(place, 'tokenise did not answer with { rows: [...] }')
  const whole = answer.rows.map((row: unknown) => tokenRow(row, tokenizer, place))
  const rows = whole.map((row) => (row.ids.length > maxLength ? cut(row, maxLength, tokenizer) : row))
  const kept = rows.filter((row) => scoredTokens(row) > 0)
  return {
    rows: kept,
    truncated: whole.filter(({ ids }) => ids.length > maxLength).length,
    dropped: rows.length - kept.length,
  }
}

function tokenRow(row: unknown, tokenizer: Tokenizer, place: string): TokenRow {
  if (!isFields(row)) throw invalidUnit(place, 'tokenise made a row that is not an object { ids, scored }')
  const ids = numbers(row.ids)
  const flags = numbers(row.scored)
  if (!ids?.every((id) => Number.isSafeInteger(id) && id >= 0 && id < 2 ** 31))
    throw invalidUnit(place, 'tokenise made a row whose ids are not whole numbers of at least 0')
  if (flags?.length !== ids.length || !flags.every((flag) => flag === 0 || flag === 1))
    throw invalidUnit(place, 'tokenise made a row whose scored flags are not a 0 or 1 for each of its ids')
  if (flags[0] === 1) throw invalidUnit(place, 'tokenise made a row whose first token is scored, and nothing could predict it')
  return counted(Int32Array.from(ids), Uint8Array.from(flags), tokenizer)
}

const cut = ({ ids, scored }: TokenRow, length: number, tokenizer: Tokenizer): TokenRow =>
  counted(ids.slice(0, length), scored.slice(0, length), tokenizer)

function counted(ids: Int32Array, scored: Uint8Array, tokenizer: Tokenizer): TokenRow {
  // An id that the tokenizer does not know is found, and named, when rows are compared with the model.
  const known = ids.filter((id, position) => scored[position] === 1 && id < tokenizer.vocabSize)
  return { ids, scored, bytes: tokenizer.textBytes(known) }
}

function numbers(value: unknown): readonly number[] | null {
  if (value instanceof Int32Array || value instanceof Uint32Array || value instanceof Uint8Array) return [...value]
  return Array.isArray(value) && value.every((entry) => typeof entry === 'number') ? value : null
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

function isName(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && value !== '')
}

function invalidUnit(place: string, why: string, cause?: unknown): UserError {
  const fix = 'give units as { tokenise(tokenizer, { maxLength }) { return { rows: [{ ids: [...], scored: [0, 1, ...] }] } } }'
  return new UserError({ code: 'DATA_ROW_INVALID', what: `${place}: the unit cannot be used`, why, fix }, { cause })
}
