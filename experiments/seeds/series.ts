/**
 * @file A series of runs that differ in their seed alone, one after the other, and the mean and deviation of what they brought.
 */
import { randomBytes } from 'node:crypto'
import type { HostedRun } from '../../server/host.js'
import { runResult, type RunResult } from '../../server/run-summary.js'
import type { Config } from '../../shared/config/schema.js'
import { UserError, type ErrorReport } from '../../shared/errors.js'
import { runExperiment, type ExperimentOptions } from '../experiment.js'
import { outcomeOf } from '../outcome.js'
import { findRun, readRun } from '../runs.js'
import { spreadOver, type Spread } from './spread.js'

/** What is told of each run, and averaged. Losses are nats per scored token, bytes as on the wire. */
export const SEED_MEASURES = [
  'train_loss',
  'eval_loss',
  'eval_perplexity',
  'best_eval_loss',
  'uplink_bytes',
  'downlink_bytes',
  'seconds',
] as const
export type SeedMeasure = (typeof SEED_MEASURES)[number]

/** The run of one seed. Losses and perplexity are those of its last round that has them; the best is over all its rounds. */
export interface SeedRun extends Readonly<Record<SeedMeasure, number | null>> {
  readonly seed: number
  /** complete, interrupted or failed. */
  readonly status: string
  /** null if it failed before it had a folder. */
  readonly run_dir: string | null
  readonly adapter_dir: string | null
  readonly rounds: RunResult['rounds']
  /** Of a run that failed. */
  readonly error: ErrorReport | null
}

export interface SeriesResult {
  /** Ties the runs together: it stands in the metadata.json of each. */
  readonly group: string
  /** In the order of the seeds; fewer than there are seeds if the series was interrupted. */
  readonly runs: readonly SeedRun[]
  /** Over the runs that are complete. */
  readonly seeds: { readonly complete: number } & Spread<SeedMeasure>
}

export interface SeriesOptions extends Pick<ExperimentOptions, 'argv' | 'signal' | 'urgent'> {
  /** Called before each run, for what is to watch it. */
  readonly watch?: (config: Config, index: number) => Pick<ExperimentOptions, 'watcher' | 'onStart'>
  /** Called after each run. */
  readonly onRun?: (run: SeedRun) => void
}

/**
 * Runs each config in turn. A run that fails leaves the others' results alone; the signal ends the run under way, and the series.
 *
 * @param configs that differ in `train.seed`, see parseConfigSeries
 * @throws UserError what kept the first run from starting: it would keep all others too. The signal's reason if it came before any run.
 */
export async function runSeries(configs: readonly Config[], options: SeriesOptions = {}): Promise<SeriesResult> {
  const { argv = [], signal, urgent, watch, onRun } = options
  const group = `seeds-${randomBytes(3).toString('hex')}`
  const seeds = configs.map(({ train }) => train.seed)
  const runs: SeedRun[] = []
  for (const [index, config] of configs.entries()) {
    if (signal?.aborted && runs.length > 0) break
    let hosted: HostedRun | null = null
    let error: UserError | null = null
    const watching = watch?.(config, index) ?? {}
    try {
      await runExperiment(config, {
        argv,
        group: { id: group, seeds, index },
        // One of its own: what waits for it goes with the run.
        ...(signal ? { signal: AbortSignal.any([signal]) } : {}),
        ...(urgent ? { urgent } : {}),
        ...watching,
        onStart(started) {
          hosted = started
          watching.onStart?.(started)
        },
      })
    } catch (cause) {
      if (signal?.aborted && cause === signal.reason && runs.length > 0) break
      if (!(cause instanceof UserError) || (hosted === null && runs.length === 0)) throw cause
      error = cause
    }
    const run = await seedRun(config.train.seed, hosted, error)
    runs.push(run)
    onRun?.(run)
  }
  const complete = runs.filter(({ status }) => status === 'complete')
  return { group, runs, seeds: { complete: complete.length, ...spreadOver(complete, SEED_MEASURES) } }
}

async function seedRun(seed: number, hosted: HostedRun | null, cause: UserError | null): Promise<SeedRun> {
  const error = cause?.report() ?? null
  if (hosted === null) {
    const nothing = Object.fromEntries(SEED_MEASURES.map((key) => [key, null])) as Record<SeedMeasure, null>
    return { seed, status: 'failed', run_dir: null, adapter_dir: null, ...nothing, rounds: [], error }
  }
  const { run_dir, adapter_dir, rounds } = runResult(hosted)
  const outcome = outcomeOf(await readRun(await findRun(run_dir, run_dir)))
  const { train_loss, eval_loss, perplexity_last: eval_perplexity, best_eval_loss, uplink_bytes, downlink_bytes, seconds } = outcome
  const measures = { train_loss, eval_loss, eval_perplexity, best_eval_loss, uplink_bytes, downlink_bytes, seconds }
  // Where the disk is full there is not even a summary that says so.
  return { seed, status: error === null ? outcome.status : 'failed', run_dir, adapter_dir, ...measures, rounds, error }
}
