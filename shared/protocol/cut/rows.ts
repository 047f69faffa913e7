/**
 * @file The field `rows` of activations and gradients, where codecs remember rows: which training rows a batch has, and what both ends hold of them.
 *
 * Of activations, as variable-length integers: the message's number, larger than those before it on the link; then for each row its number among the
 * client's training rows; where activations are told as changes, the age of what it is told against; where gradients are, that of the row's gradient
 * that the client holds. An age is how many messages ago it was told, 0 for nothing. Of gradients: for each row the age of what it is told against, from
 * the number of the activations that they answer.
 */
import { invalid } from '../codec/codec.js'
import type { CutCodecs } from '../codec/index.js'
import type { BatchRows } from '../codec/row-memory.js'
import { decodeVarints, encodeVarints } from '../varints.js'

/** Rows of a batch, as activations name them. Versions are numbers of messages; 0 is none. */
export interface TrackedRows extends BatchRows {
  readonly version: number
  /** Of each row the version of its activations that they are told against; empty where activations are not told as changes. */
  readonly against: readonly number[]
  /** Of each row the version of its gradient that the client holds; empty where gradients are not told as changes. */
  readonly held: readonly number[]
}

/** What the field tells of each row beside its number; null where nobody but who encodes activations remembers rows, and it tells nothing. */
export interface RowsForm {
  readonly against: boolean
  readonly held: boolean
}

export function rowsForm({ activations, gradients }: CutCodecs): RowsForm | null {
  const against = activations.history?.kind === 'changes'
  return against || gradients.history ? { against, held: gradients.history?.kind === 'changes' } : null
}

export function encodeRows({ version, numbers, against, held }: Omit<TrackedRows, 'lengths'>): Uint8Array<ArrayBuffer> {
  const columns = [against, held].filter(({ length }) => length > 0)
  const ofRow = (row: number, index: number): number[] => [row, ...columns.map((versions) => ageOf(version, versions[index]))]
  return encodeVarints([version, ...Array.from(numbers, ofRow).flat()])
}

/**
 * @param lengths tokens of each row
 * @throws UserError MESSAGE_INVALID, before it allocates, unless the bytes are of so many rows.
 */
export function decodeRows(bytes: Uint8Array, lengths: ArrayLike<number>, form: RowsForm): TrackedRows {
  const width = 1 + Number(form.against) + Number(form.held)
  const [version, ...values] = decodeVarints(bytes, 1 + width * lengths.length)
  const column = (place: number): number[] => values.filter((_, index) => index % width === place)
  const versions = (place: number): number[] => column(place).map((age) => versionOf(version, age))
  return {
    version,
    lengths,
    numbers: column(0),
    against: form.against ? versions(1) : [],
    held: form.held ? versions(width - 1) : [],
  }
}

/** The field of gradients. */
export function encodeAges(version: number, against: readonly number[]): Uint8Array<ArrayBuffer> {
  return encodeVarints(against.map((before) => ageOf(version, before)))
}

/** @throws UserError MESSAGE_INVALID */
export function decodeAges(bytes: Uint8Array, count: number, version: number): number[] {
  return Array.from(decodeVarints(bytes, count), (age) => versionOf(version, age))
}

function ageOf(version: number, before: number): number {
  return before === 0 ? 0 : version - before
}

function versionOf(version: number, age: number): number {
  if (age >= Math.max(1, version)) throw invalid(`a row is told against what was said ${age} messages before message ${version}`)
  return age === 0 ? 0 : version - age
}
