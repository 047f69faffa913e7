/**
 * @file A client's rows: reads the data set, takes the client's part, holds out its evaluation rows and tokenises both.
 *
 * Parts and held-out rows are functions of the config's data and seed alone, so any process may work out any client's.
 */
import { isOwnModule } from '../shared/config/own-path.js'
import { UserError, unreachable } from '../shared/errors.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import { derive } from '../shared/random.js'
import { scoredTokens, type ClientRows, type TokenRow } from '../shared/train/rows.js'
import { ownSource } from './own.js'
import { iidParts } from './partition-iid.js'
import { partition, type PartitionKind } from './partition.js'
import { readRows, rowSource } from './rows.js'
import type { DataSource, DataUnit, TokeniseOptions } from './source.js'
import { MODERN_YEARS, sotuSource, type Years } from './sotu/load.js'

/** The `data` keys of a config that say which rows a client has. */
export interface DataConfig {
  /** A name, or the path of a file of the user's own code. */
  readonly dataset: string | null
  /** A JSONL or CSV file, in place of `dataset`. */
  readonly path: string | null
  /** null: natural for `sotu` and for rows with `client`, else iid. */
  readonly partition: PartitionKind | null
  /** Concentration of the partitions `dirichlet` and `quantity`. */
  readonly alpha: number
  readonly max_length: number
  readonly completion_only_loss: boolean
  readonly eval_fraction: number
  readonly eval_path: string | null
}

export interface LoadOptions {
  readonly data: DataConfig
  readonly seed: number
  readonly tokenizer: Tokenizer
  /** Which part of the data; null: all of it. */
  readonly part: { readonly index: number; readonly count: number } | null
  /**
   * With `part: null`: into how many parts the data would be divided. The rows are then those of all these parts together, and the
   * same ones are held out, so that `centralized` can be compared with a run of that many clients. Default 1.
   */
  readonly parts?: number
  /**
   * The file to run where `data.dataset` names one: whoever runs this process says which, and a config that came from elsewhere does not.
   * null: none.
   */
  readonly datasetFile?: string | null
  /** In place of the data set that `data` names. */
  readonly source?: DataSource
  /** For `sotu`. */
  readonly years?: Years
}

export interface DataReport {
  /** What the rows are, as the presidents' names, for the log. */
  readonly description: string
  readonly trainRows: number
  readonly evalRows: number
  /** Rows cut at `max_length`, held-out ones included. */
  readonly truncated: number
  /** Rows without a scored token, left out. */
  readonly dropped: number
  /** Tokens of the training rows, and those of them that are scored. */
  readonly trainTokens: number
  readonly scoredTokens: number
}

/**
 * One client's training and held-out rows.
 *
 * Held out are whole units (rows of a file, speeches): of each part `eval_fraction`, at least one if it has two or more and never all;
 * or, with `eval_path`, this part's share of that file, and nothing of the training data.
 *
 * @throws UserError DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, DATA_ROW_INVALID, CONFIG_VALUE, or NO_TRAINING_ROWS for a part that has none.
 */
export async function loadClientRows(options: LoadOptions): Promise<{ rows: ClientRows; report: DataReport }> {
  const { data, seed, tokenizer, part } = options
  const count = part?.count ?? options.parts ?? 1
  if (part && !(part.index >= 0 && part.index < part.count)) unreachable(`part ${part.index} of ${part.count}`)
  const wanted = part ? [part.index] : Array.from({ length: count }, (_, index) => index)

  const source = options.source ?? (await openSource(data, options.datasetFile ?? null, options.years))
  const parts = partition(source, { kind: data.partition, parts: count, alpha: data.alpha, seed })
  const splits = wanted.map((index) => holdOut(parts[index], source.units.length, data, seed))
  const trainUnits = inOrder(splits.flatMap(({ train }) => train))
  const heldOut =
    data.eval_path === null
      ? pick(source, inOrder(splits.flatMap(({ evaluation }) => evaluation)))
      : await evaluationPart(data.eval_path, wanted, count, seed)

  const tokeniseOptions = { maxLength: data.max_length, completionOnlyLoss: data.completion_only_loss }
  const train = tokeniseAll(pick(source, trainUnits), tokenizer, tokeniseOptions)
  const evaluation = tokeniseAll(heldOut, tokenizer, tokeniseOptions)
  if (train.rows.length === 0) throw noTrainingRows(source, part, trainUnits.length, train.dropped)
  return {
    rows: { train: train.rows, evaluation: evaluation.rows },
    report: {
      description: describe(source, inOrder(wanted.flatMap((index) => parts[index]))),
      trainRows: train.rows.length,
      evalRows: evaluation.rows.length,
      truncated: train.truncated + evaluation.truncated,
      dropped: train.dropped + evaluation.dropped,
      trainTokens: train.rows.reduce((sum, { ids }) => sum + ids.length, 0),
      scoredTokens: train.rows.reduce((sum, row) => sum + scoredTokens(row), 0),
    },
  }
}

/**
 * The data set of a config.
 * @param datasetFile see LoadOptions.
 * @throws UserError DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, DATA_ROW_INVALID
 */
export async function openSource(
  { dataset, path }: Pick<DataConfig, 'dataset' | 'path'>,
  datasetFile: string | null,
  years: Years = MODERN_YEARS,
): Promise<DataSource> {
  if (path !== null) return rowSource(await readRows(path), path)
  if (!isOwnModule(dataset)) return sotuSource(years)
  if (datasetFile !== null) return ownSource(datasetFile)
  throw new UserError({
    code: 'DATA_NOT_FOUND',
    what: `the config's data set, ${dataset}, is not opened`,
    why: 'it is a file of code, which is run only if whoever runs this process names it',
    fix: 'give rows or a data set of your own with --data, or, if this file lies here and you trust it, name it with --dataset',
  })
}

/** A file that somebody named at this process: rows, or code that gives them. @throws UserError as `openSource`. */
export async function fileSource(path: string): Promise<DataSource> {
  return isOwnModule(path) ? ownSource(path) : rowSource(await readRows(path), path)
}

/**
 * Splits a part's units. Which go first to evaluation is one random order over the whole data set, so that other numbers of clients
 * hold out much the same units.
 */
function holdOut(part: readonly number[], units: number, data: DataConfig, seed: number): { train: number[]; evaluation: number[] } {
  const takes = data.eval_path === null && data.eval_fraction > 0 && part.length >= 2
  const size = takes ? Math.min(part.length - 1, Math.max(1, Math.round(data.eval_fraction * part.length))) : 0
  const rank = derive(seed, 'held-out').permutation(units)
  const evaluation = new Set([...part].sort((a, b) => rank[a] - rank[b]).slice(0, size))
  return { train: part.filter((unit) => !evaluation.has(unit)), evaluation: [...evaluation] }
}

async function evaluationPart(path: string, wanted: readonly number[], count: number, seed: number): Promise<DataUnit[]> {
  const source = rowSource(await readRows(path), path)
  const parts = iidParts(source.units.length, count, derive(seed, 'partition', 'evaluation'))
  return pick(source, inOrder(wanted.flatMap((index) => parts[index])))
}

function tokeniseAll(
  units: readonly DataUnit[],
  tokenizer: Tokenizer,
  options: TokeniseOptions,
): { rows: TokenRow[]; truncated: number; dropped: number } {
  const result = { rows: [] as TokenRow[], truncated: 0, dropped: 0 }
  for (const unit of units) {
    const { rows, truncated, dropped } = unit.tokenise(tokenizer, options)
    for (const row of rows) result.rows.push(row)
    result.truncated += truncated
    result.dropped += dropped
  }
  return result
}

const inOrder = (units: readonly number[]): number[] => [...units].sort((a, b) => a - b)
const pick = (source: DataSource, units: readonly number[]): DataUnit[] => units.map((unit) => source.units[unit])

/** The owners of these units, most of them by name. */
function describe(source: DataSource, units: readonly number[]): string {
  const owners = [...new Set(pick(source, units).flatMap(({ owner }) => owner ?? []))]
  if (owners.length === 0) return `${units.length} rows of ${source.name}`
  const named = owners.slice(0, 8).join(', ')
  return owners.length > 8 ? `${named} and ${owners.length - 8} more` : named
}

function noTrainingRows(source: DataSource, part: LoadOptions['part'], units: number, dropped: number): UserError {
  const whose = part ? `part ${part.index} of ${part.count} (counted from 0)` : 'the whole data set'
  const why =
    units === 0
      ? `${source.name} has ${source.units.length} rows, too few for this part to get one to train on`
      : `no token would be scored in any of its rows; ${dropped} were dropped`
  return new UserError({
    code: 'NO_TRAINING_ROWS',
    what: `${whose} has no training rows`,
    why,
    fix: units === 0 ? 'use fewer clients or more rows' : 'raise data.max_length, so that more than the prompt fits into a row',
  })
}
