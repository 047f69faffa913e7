/**
 * @file A client's rows: reads the data set, and takes the client's part of it.
 *
 * Parts and held-out rows are functions of the config's data and seed alone, so any process may work out any client's.
 */
import { isOwnModule } from '../shared/config/own-path.js'
import { unreachable, UserError } from '../shared/errors.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import type { ClientRows } from '../shared/train/rows.js'
import { divide, type DataConfig, type DataReport, type Division } from './division.js'
import { ownSource } from './own.js'
import { readRows, rowSource } from './rows.js'
import type { DataSource } from './source.js'
import { MODERN_YEARS, sotuSource, type Years } from './sotu/load.js'

export type { DataConfig, DataReport }

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

/**
 * One client's training and held-out rows.
 *
 * Held out are whole units (rows of a file, speeches): of each part `eval_fraction`, at least one if it has two or more and never all;
 * or, with `eval_path`, this part's share of that file, and nothing of the training data.
 *
 * @throws UserError DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, DATA_ROW_INVALID, CONFIG_VALUE, or NO_TRAINING_ROWS for a part that has none.
 */
export async function loadClientRows(options: LoadOptions): Promise<{ rows: ClientRows; report: DataReport }> {
  const { part } = options
  const count = part?.count ?? options.parts ?? 1
  if (part && !(part.index >= 0 && part.index < part.count)) unreachable(`part ${part.index} of ${part.count}`)
  const division = await openDivision({ ...options, parts: count })
  return division.load(part ? part.index : null, options.tokenizer)
}

/**
 * The config's data, read and divided once for several parts of it.
 * @throws UserError DATA_NOT_FOUND, DATA_SET_FAILED, DATA_EMPTY, DATA_ROW_INVALID, CONFIG_VALUE
 */
export async function openDivision({
  data,
  seed,
  parts,
  datasetFile = null,
  source: given,
  years,
}: Omit<LoadOptions, 'tokenizer' | 'part' | 'parts'> & { readonly parts: number }): Promise<Division> {
  const source = given ?? (await openSource(data, datasetFile, years))
  const evaluation = data.eval_path === null ? null : rowSource(await readRows(data.eval_path), data.eval_path)
  return divide(source, evaluation, { data, seed, parts })
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
