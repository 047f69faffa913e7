/**
 * @file A data set divided among the clients of a run: whose units are whose, which are held out, and, when asked, a client's rows.
 */
import { UserError } from '../shared/errors.js'
import type { Tokenizer } from '../shared/model/tokenizer.js'
import { derive } from '../shared/random.js'
import { scoredTokens, type ClientRows, type TokenRow } from '../shared/train/rows.js'
import { iidParts } from './partition-iid.js'
import { partition, type PartitionKind } from './partition.js'
import type { DataSource, DataUnit, TokeniseOptions } from './source.js'

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

export interface DivideOptions {
  readonly data: DataConfig
  readonly seed: number
  /** At least 1. */
  readonly parts: number
}

/** Numbers of units. */
interface Split {
  readonly train: readonly number[]
  readonly evaluation: readonly number[]
}

export interface Division {
  /**
   * Tokenises a part; nothing is tokenised before.
   * @param index which, from 0; null: all parts together, which hold out the same units as each alone.
   * @throws UserError NO_TRAINING_ROWS, and what tokenising throws.
   */
  load(index: number | null, tokenizer: Tokenizer): { readonly rows: ClientRows; readonly report: DataReport }
}

/**
 * Held out are whole units: of each part `eval_fraction`, at least one if it has two or more and never all; or, where there are rows for it, a
 * part of those and nothing of the data set.
 *
 * @param evaluation what `eval_path` names; null: nothing.
 * @throws UserError CONFIG_VALUE, DATA_ROW_INVALID, NO_TRAINING_ROWS: as `partition`.
 */
export function divide(source: DataSource, evaluation: DataSource | null, options: DivideOptions): Division {
  const { data, seed, parts: count } = options
  const parts = partition(source, { kind: data.partition, parts: count, alpha: data.alpha, seed })
  // Which go first to evaluation is one random order over the whole data set, so that other numbers of clients hold out much the same units.
  const rank = derive(seed, 'held-out').permutation(source.units.length)
  const evaluationParts = evaluation && iidParts(evaluation.units.length, count, derive(seed, 'partition', 'evaluation'))
  const tokeniseOptions = { maxLength: data.max_length, completionOnlyLoss: data.completion_only_loss }

  return {
    load(index, tokenizer) {
      const wanted = index === null ? Array.from(parts.keys()) : [index]
      const splits = wanted.map((which) => holdOut(parts[which], rank, data))
      const trainUnits = inOrder(splits.flatMap(({ train }) => train))
      const heldOut =
        evaluation && evaluationParts
          ? pick(evaluation, inOrder(wanted.flatMap((which) => evaluationParts[which])))
          : pick(source, inOrder(splits.flatMap((split) => split.evaluation)))
      const train = tokeniseAll(pick(source, trainUnits), tokenizer, tokeniseOptions)
      const heldOutRows = tokeniseAll(heldOut, tokenizer, tokeniseOptions)
      if (train.rows.length === 0) throw noTrainingRows(source, index, count, trainUnits.length, train.dropped)
      return {
        rows: { train: train.rows, evaluation: heldOutRows.rows },
        report: {
          description: describe(source, inOrder(wanted.flatMap((which) => parts[which]))),
          trainRows: train.rows.length,
          evalRows: heldOutRows.rows.length,
          truncated: train.truncated + heldOutRows.truncated,
          dropped: train.dropped + heldOutRows.dropped,
          trainTokens: train.rows.reduce((sum, { ids }) => sum + ids.length, 0),
          scoredTokens: train.rows.reduce((sum, row) => sum + scoredTokens(row), 0),
        },
      }
    },
  }
}

/** @param rank of every unit of the data set: the lowest go to evaluation. */
function holdOut(part: readonly number[], rank: ArrayLike<number>, data: DataConfig): Split {
  const takes = data.eval_path === null && data.eval_fraction > 0 && part.length >= 2
  const size = takes ? Math.min(part.length - 1, Math.max(1, Math.round(data.eval_fraction * part.length))) : 0
  const evaluation = new Set([...part].sort((a, b) => rank[a] - rank[b]).slice(0, size))
  return { train: part.filter((unit) => !evaluation.has(unit)), evaluation: [...evaluation] }
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

function noTrainingRows(source: DataSource, index: number | null, count: number, units: number, dropped: number): UserError {
  const whose = index === null ? 'the whole data set' : `part ${index} of ${count} (counted from 0)`
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
