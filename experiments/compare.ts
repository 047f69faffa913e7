/**
 * @file `cutlayer compare`: runs side by side, what differs in their configs first.
 */
import { z } from 'zod'
import { byteSize, defineCommand, duration } from '../shared/command-line/index.node.js'
import { isMapping } from '../shared/config/paths.js'
import { UserError } from '../shared/errors.js'
import { ratioText, type CutBytes } from '../shared/protocol/cut-bytes.js'
import { DEFAULT_OUTPUT_DIR } from './inspect/inspect.js'
import { measured, table, type Column } from './inspect/table.js'
import { outcomeOf, type Outcome } from './outcome.js'
import { findRun, readRun, runsOfGroup, type Run } from './runs.js'
import { groupsOf, groupsText, seedOf, type GroupSummary } from './seeds/group.js'

export const compareCommand = defineCommand({
  usage: 'compare <runs...>',
  summary: 'two or more runs side by side: what differs in their configs, then what came out; of several seeds, mean and deviation',
  example:
    'cutlayer compare a1b2c3 d4e5f6\ncutlayer compare seeds-0a1b2c\ncutlayer compare quickstart runs/20260101-000000_exp_a1b2c3 --format json',
  flags: { '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})` },
  options: z.object({ outputDir: z.string().default(DEFAULT_OUTPUT_DIR) }),
  async run(context, references, { outputDir }) {
    const runs: Run[] = []
    for (const reference of references) {
      const group = await runsOfGroup(reference, outputDir)
      for (const found of group.length > 0 ? group : [await findRun(reference, outputDir)]) runs.push(await readRun(found))
    }
    if (runs.length < 2) throw onlyOne(references[0]!)
    const comparison = compareRuns(runs)
    return { data: comparison, text: comparisonText(comparison, (text) => context.paint('bold', text)) }
  },
})

function onlyOne(reference: string): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `there is nothing to compare ${reference} with`,
    why: 'only one run is named',
    fix: 'name two or more; "cutlayer list" shows what there is',
  })
}

/** A key that has not the same value in all runs. */
export interface Difference {
  /** Dotted, as in overrides; `metadata.` before what is no part of the config. */
  readonly key: string
  /** In the order of the runs; null where a run has no such key, or has it as null. */
  readonly values: readonly unknown[]
}

export interface Comparison {
  readonly differences: readonly Difference[]
  readonly runs: readonly Outcome[]
  /** Mean and deviation over the runs that one command made of several seeds. */
  readonly groups: readonly GroupSummary[]
  readonly warnings: readonly string[]
}

/** Pure: of what was read of the runs, in their order. */
export function compareRuns(runs: readonly Run[]): Comparison {
  const outcomes = runs.map(outcomeOf)
  return {
    differences: differencesOf(runs),
    runs: outcomes,
    groups: groupsOf(outcomes),
    warnings: runs.flatMap(({ warnings }) => warnings),
  }
}

function differencesOf(runs: readonly Run[]): Difference[] {
  const flat = runs.map((run) => new Map([...flatten(run.config), ...flatten(factsOf(run))]))
  const keys = [...new Set(flat.flatMap((values) => [...values.keys()]))]
  return keys
    .map((key) => ({ key, values: flat.map((values) => values.get(key)) }))
    .filter(({ values }) => new Set(values.map((value) => JSON.stringify(value))).size > 1)
}

/** What may differ although the configs agree: a path may hold another model today, or other code. */
function factsOf({ metadata }: Run): unknown {
  if (metadata === null) return {}
  const { model, versions, code } = metadata
  return { metadata: { model: { digest: model.digest }, versions, ...(code ? { code } : {}) } }
}

/** Leaves by dotted key. Lists and empty mappings are leaves. */
function flatten(value: unknown, prefix = ''): [string, unknown][] {
  if (!isMapping(value) || (prefix !== '' && Object.keys(value).length === 0)) return prefix === '' ? [] : [[prefix, value]]
  return Object.entries(value).flatMap(([key, entry]) => flatten(entry, prefix === '' ? key : `${prefix}.${key}`))
}

function comparisonText({ differences, runs, groups, warnings }: Comparison, bold: (text: string) => string): string {
  const columns: Column<Difference>[] = [
    { title: 'differs', cell: ({ key }) => key },
    ...runs.map(({ id }, index) => ({ title: id, cell: ({ values }: Difference) => shown(values[index]) })),
  ]
  const parts = [
    differences.length === 0 ? 'the configs are the same\n' : table(columns, differences, bold),
    table(groups.length === 0 ? OUTCOME_COLUMNS : [...OUTCOME_COLUMNS.slice(0, 1), SEED_COLUMN, ...OUTCOME_COLUMNS.slice(1)], runs, bold),
    ...(cutRows(runs).length === 0 ? [] : [table(CUT_COLUMNS, cutRows(runs), bold)]),
    ...(groups.length === 0 ? [] : [groupsText(groups, bold)]),
    ...warnings.map((warning) => `warning: ${warning}\n`),
  ]
  return parts.join('\n')
}

function shown(value: unknown): string {
  if (value === undefined) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

const SEED_COLUMN: Column<Outcome> = { title: 'seed', cell: (outcome) => String(seedOf(outcome) ?? '-'), align: 'right' }

const OUTCOME_COLUMNS: readonly Column<Outcome>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name },
  { title: 'status', cell: ({ status }) => status },
  { title: 'rounds', cell: ({ rounds }) => String(rounds), align: 'right' },
  { title: 'perplexity before', cell: ({ perplexity_before }) => measured(perplexity_before, 2), align: 'right' },
  { title: 'last', cell: ({ perplexity_last }) => measured(perplexity_last, 2), align: 'right' },
  { title: 'best', cell: ({ perplexity_best }) => measured(perplexity_best, 2), align: 'right' },
  { title: 'train loss', cell: ({ train_loss }) => measured(train_loss, 4), align: 'right' },
  { title: 'up', cell: ({ uplink_bytes }) => byteSize(uplink_bytes), align: 'right' },
  { title: 'down', cell: ({ downlink_bytes }) => byteSize(downlink_bytes), align: 'right' },
  { title: 'time', cell: ({ seconds }) => duration(seconds), align: 'right' },
]

/** At the cut, both ways. */
const CUT_COLUMNS: readonly Column<CutRow>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'at the cut', cell: ({ what }) => what },
  { title: 'payload', cell: ({ payload_bytes }) => byteSize(payload_bytes), align: 'right' },
  { title: 'on the wire', cell: ({ wire_bytes }) => byteSize(wire_bytes), align: 'right' },
  { title: 'of fp32', cell: ({ fp32_ratio }) => ratioText(fp32_ratio), align: 'right' },
]

type CutRow = CutBytes & { readonly id: string; readonly what: string }

function cutRows(runs: readonly Outcome[]): CutRow[] {
  return runs
    .flatMap(({ id, cut }) => [
      { id, what: 'activations', ...cut.up },
      { id, what: 'gradients', ...cut.down },
    ])
    .filter(({ payload_bytes }) => payload_bytes > 0)
}
