/**
 * @file The runs that one command made of several seeds, as one group: found by its id, and told as mean and deviation.
 */
import { byteSize, duration } from '../../shared/command-line/index.node.js'
import { measured, table, type Column } from '../inspect/table.js'
import type { Outcome } from '../outcome.js'
import { plusMinus, spreadOver, type Spread } from './spread.js'

const MEASURES = [
  'perplexity_before',
  'perplexity_last',
  'perplexity_best',
  'train_loss',
  'eval_loss',
  'best_eval_loss',
  'uplink_bytes',
  'downlink_bytes',
  'seconds',
] as const
type Measure = (typeof MEASURES)[number]

export interface GroupSummary extends Spread<Measure> {
  readonly id: string
  /** Of all its runs, also of those that are not looked at. */
  readonly seeds: readonly number[]
  /** How many of those that are looked at are complete: mean and deviation are over them. */
  readonly complete: number
  readonly runs: readonly { readonly id: string; readonly seed: number; readonly status: string }[]
}

/** The groups that the runs belong to, in the order of their first runs. Pure. */
export function groupsOf(outcomes: readonly Outcome[]): GroupSummary[] {
  const ids = new Set(outcomes.flatMap(({ group }) => (group === null ? [] : [group.id])))
  return [...ids].map((id) => {
    // A run may be named twice.
    const runs = [...new Map(outcomes.filter(({ group }) => group?.id === id).map((outcome) => [outcome.id, outcome])).values()]
    const complete = runs.filter(({ status }) => status === 'complete')
    return {
      id,
      seeds: runs[0]!.group!.seeds,
      complete: complete.length,
      runs: runs.map((run) => ({ id: run.id, seed: seedOf(run)!, status: run.status })),
      ...spreadOver(complete, MEASURES),
    }
  })
}

/** null for a run that is no part of a group. */
export function seedOf({ group }: Pick<Outcome, 'group'>): number | null {
  return group === null ? null : (group.seeds[group.index] ?? null)
}

/** The groups as a table, and what its numbers are. */
export function groupsText(groups: readonly GroupSummary[], bold: (text: string) => string): string {
  return `mean ± sample deviation (n - 1) over the complete runs of a group\n${table(COLUMNS, groups, bold)}`
}

const cell =
  (key: Measure, show: (value: number) => string) =>
  ({ mean, deviation }: GroupSummary): string =>
    plusMinus(mean[key], deviation[key], show)
const bytes = (value: number): string => byteSize(Math.round(value))

const COLUMNS: readonly Column<GroupSummary>[] = [
  { title: 'group', cell: ({ id }) => id },
  { title: 'complete', cell: ({ complete, seeds }) => `${complete} of ${seeds.length}`, align: 'right' },
  { title: 'perplexity before', cell: cell('perplexity_before', (value) => measured(value, 2)), align: 'right' },
  { title: 'last', cell: cell('perplexity_last', (value) => measured(value, 2)), align: 'right' },
  { title: 'best', cell: cell('perplexity_best', (value) => measured(value, 2)), align: 'right' },
  { title: 'train loss', cell: cell('train_loss', (value) => measured(value, 4)), align: 'right' },
  { title: 'up', cell: cell('uplink_bytes', bytes), align: 'right' },
  { title: 'down', cell: cell('downlink_bytes', bytes), align: 'right' },
  { title: 'time', cell: cell('seconds', duration), align: 'right' },
]
