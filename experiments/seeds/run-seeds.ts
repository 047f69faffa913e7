/**
 * @file `cutlayer run` of a config with several seeds: what scripts and people are told.
 */
import { RunReporter } from '../../server/reporter.js'
import { resumeCommand } from '../../server/resume/hint.js'
import { byteSize, duration, type CommandContext, type CommandResult } from '../../shared/command-line/index.node.js'
import type { Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { measured, table, type Column } from '../inspect/table.js'
import { runSeries, type SeedMeasure, type SeedRun, type SeriesResult } from './series.js'

export async function runSeeds(context: CommandContext, configs: readonly Config[], argv: readonly string[]): Promise<CommandResult> {
  let reporter: RunReporter | null = null
  try {
    const result = await runSeries(configs, {
      argv,
      signal: context.signal,
      urgent: context.urgent,
      watch(config, index) {
        const { seed } = config.train
        const text = context.paint('bold', `seed ${seed} (${index + 1} of ${configs.length})`)
        context.event({ event: 'seed', seed, index, seeds: configs.map(({ train }) => train.seed) }, text)
        const watcher = (reporter = new RunReporter(context, config))
        return { watcher, onStart: (hosted) => watcher.start(hosted) }
      },
      onRun(run) {
        reporter?.finish()
        context.event({ event: 'seed-over', ...withoutRounds(run) }, endOf(run))
      },
    })
    const error = errorOf(result)
    return { data: result, text: seriesText(result, (text) => context.paint('bold', text)), ...(error ? { error } : {}) }
  } finally {
    ;(reporter as RunReporter | null)?.finish()
  }
}

/** Its rounds were told as they ended. */
function withoutRounds({ rounds: _, ...run }: SeedRun): Omit<SeedRun, 'rounds'> {
  return run
}

function endOf({ seed, status, error }: SeedRun): string {
  return error === null ? `seed ${seed}: ${status}` : `seed ${seed} failed: ${error.what}: ${error.why}`
}

/** The first seed's that failed; the exit status is its. */
function errorOf({ runs }: SeriesResult): UserError | null {
  const failed = runs.filter(({ error }) => error !== null)
  const first = failed[0]
  if (!first?.error) return null
  const others = failed.slice(1).map(({ seed }) => seed)
  const more = others.length === 0 ? '' : ` (and of seed ${others.join(', ')}: see its summary.json)`
  return new UserError({ ...first.error, what: `the run of seed ${first.seed} failed: ${first.error.what}${more}` })
}

interface Row extends Readonly<Record<SeedMeasure, number | null>> {
  readonly name: string
  readonly note: string
}

function seriesText({ group, runs, seeds }: SeriesResult, bold: (text: string) => string): string {
  const rows: Row[] = runs.map((run) => ({ ...run, name: String(run.seed), note: run.status === 'complete' ? '' : run.status }))
  if (seeds.complete > 0) rows.push({ ...seeds.mean, name: 'mean', note: '' }, { ...seeds.deviation, name: 'deviation', note: '' })
  return [
    table(COLUMNS, rows, bold),
    `mean and sample deviation (n - 1) over ${seeds.complete} ${seeds.complete === 1 ? 'run that is' : 'runs that are'} complete; of perplexity, over the runs' own`,
    '',
    ...runs.flatMap(({ status, run_dir }) =>
      status === 'interrupted' && run_dir !== null ? [`resume    ${resumeCommand(run_dir, 'run')}`] : [],
    ),
    `next      npx cutlayer compare ${group}`,
  ].join('\n')
}

const optional = (value: number | null, show: (value: number) => string): string => (value === null ? '-' : show(value))

const COLUMNS: readonly Column<Row>[] = [
  { title: 'seed', cell: ({ name }) => name },
  { title: 'train loss', cell: ({ train_loss }) => measured(train_loss, 4), align: 'right' },
  { title: 'held-out loss', cell: ({ eval_loss }) => measured(eval_loss, 4), align: 'right' },
  { title: 'perplexity', cell: ({ eval_perplexity }) => measured(eval_perplexity, 2), align: 'right' },
  { title: 'best loss', cell: ({ best_eval_loss }) => measured(best_eval_loss, 4), align: 'right' },
  { title: 'up', cell: ({ uplink_bytes }) => optional(uplink_bytes, bytes), align: 'right' },
  { title: 'down', cell: ({ downlink_bytes }) => optional(downlink_bytes, bytes), align: 'right' },
  { title: 'time', cell: ({ seconds }) => optional(seconds, duration), align: 'right' },
  { title: '', cell: ({ note }) => note },
]

/** A deviation has a fraction. */
function bytes(value: number): string {
  return byteSize(Math.round(value))
}
