/**
 * @file `cutlayer list`: runs at a glance.
 */
import { z } from 'zod'
import { defineCommand } from '../../shared/command-line/index.node.js'
import { listRuns, readRun, type Run } from '../runs.js'
import { DEFAULT_OUTPUT_DIR } from './inspect.js'
import { headOf, type RunHead } from './report.js'
import { type Column, measured, table } from './table.js'

export const listCommand = defineCommand({
  usage: 'list',
  summary: 'list the runs, oldest first',
  example: 'cutlayer list\ncutlayer list --output-dir runs --format json',
  flags: { '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})` },
  options: z.object({ outputDir: z.string().default(DEFAULT_OUTPUT_DIR) }),
  async run(context, _, { outputDir }) {
    const runs: Glance[] = []
    for (const reference of await listRuns(outputDir)) runs.push(glanceAt(await readRun(reference)))
    const columns = runs.some(({ group }) => group !== null) ? [...COLUMNS, ...GROUP_COLUMNS] : COLUMNS
    const text = runs.length === 0 ? `no runs in ${outputDir}` : table(columns, runs, (title) => context.paint('bold', title))
    return { data: { runs }, text }
  },
})

interface Glance extends RunHead {
  /** Finished ones, without round 0. */
  readonly rounds: number
  readonly perplexity_before: number | null
  readonly perplexity_last: number | null
}

function glanceAt(run: Run): Glance {
  const scored = run.rounds.filter(({ eval_perplexity }) => eval_perplexity !== null)
  const before = scored[0]?.round === 0 ? scored[0] : undefined
  return {
    ...headOf(run),
    rounds: run.rounds.filter(({ round }) => round > 0).length,
    perplexity_before: before?.eval_perplexity ?? null,
    perplexity_last: scored.at(-1)?.eval_perplexity ?? null,
  }
}

const COLUMNS: readonly Column<Glance>[] = [
  { title: 'id', cell: ({ id }) => id },
  { title: 'name', cell: ({ name }) => name },
  { title: 'started', cell: ({ created }) => created?.slice(0, 19).replace('T', ' ') ?? '-' },
  { title: 'model', cell: ({ model }) => model ?? '-' },
  { title: 'rounds', cell: ({ rounds }) => String(rounds), align: 'right' },
  { title: 'perplexity before', cell: ({ perplexity_before }) => measured(perplexity_before, 2), align: 'right' },
  { title: 'last', cell: ({ perplexity_last }) => measured(perplexity_last, 2), align: 'right' },
  { title: 'status', cell: ({ status }) => status },
]

/** Of runs that one command made of several seeds. */
const GROUP_COLUMNS: readonly Column<Glance>[] = [
  { title: 'seed', cell: ({ group }) => (group === null ? '-' : String(group.seeds[group.index])), align: 'right' },
  { title: 'of the group', cell: ({ group }) => (group === null ? '-' : group.id) },
]
