/**
 * @file Makes a sweep's runs, one after the other: of each seed all settings, so that what an interrupted sweep leaves are whole pairs.
 */
import { isDeepStrictEqual } from 'node:util'
import type { HostedRun } from '../../server/host.js'
import { runResult } from '../../server/run-summary.js'
import type { Config } from '../../shared/config/schema.js'
import { UserError, type ErrorReport } from '../../shared/errors.js'
import { packageVersion } from '../../shared/version.node.js'
import { runExperiment, type ExperimentOptions } from '../experiment.js'
import { findRun, listRuns, readRun, type Run } from '../runs.js'
import { sweepRunOf, type SweepRun } from './outcome.js'
import type { SweepPlan } from './plan.js'

export interface SweepOptions extends Pick<ExperimentOptions, 'argv' | 'signal' | 'urgent'> {
  /** Called before each run that is made, for what is to watch it. */
  readonly watch?: (setting: string, config: Config, index: number) => Pick<ExperimentOptions, 'watcher' | 'onStart'>
  /** Called after each run, also for one that was there already. */
  readonly onRun?: (run: SweepRun, wasThere: boolean) => void
}

/**
 * A run that is there already, complete, of the very config and made by this version, is not made again: so a sweep goes on where it was interrupted.
 * One that fails leaves the others alone.
 * @returns fewer runs than there are if the sweep was interrupted
 * @throws UserError what kept the first run from starting; the signal's reason if it came before any run
 */
export async function runSweep({ settings }: SweepPlan, options: SweepOptions = {}): Promise<SweepRun[]> {
  const { argv = [], signal, urgent, watch, onRun } = options
  const seeds = settings[0]?.configs.length ?? 0
  const order = Array.from({ length: seeds }, (_, seed) => settings.map(({ name, configs }) => ({ name, config: configs[seed]! }))).flat()
  const runs: SweepRun[] = []
  for (const [index, { name, config }] of order.entries()) {
    if (signal?.aborted && runs.length > 0) break
    const known = await completeRunOf(config)
    let made: SweepRun
    if (known) made = sweepRunOf(name, config.train.seed, known)
    else {
      const run = await makeRun(name, config, runs.length === 0, {
        argv,
        // One of its own: what waits for it goes with the run.
        ...(signal ? { signal: AbortSignal.any([signal]) } : {}),
        ...(urgent ? { urgent } : {}),
        ...watch?.(name, config, index),
      })
      if (run === null) break
      made = run
    }
    runs.push(made)
    onRun?.(made, known !== null)
  }
  return runs
}

/** null if it was interrupted before it had a folder. */
async function makeRun(
  setting: string,
  config: Config,
  isFirst: boolean,
  { onStart, ...options }: ExperimentOptions,
): Promise<SweepRun | null> {
  const { seed } = config.train
  let hosted: HostedRun | null = null
  let error: ErrorReport | null = null
  try {
    await runExperiment(config, {
      ...options,
      onStart(started) {
        hosted = started
        onStart?.(started)
      },
    })
  } catch (cause) {
    const { signal } = options
    if (signal?.aborted && cause === signal.reason && !isFirst) return null
    if (!(cause instanceof UserError) || (hosted === null && isFirst)) throw cause
    error = cause.report()
    if (hosted === null) return { setting, seed, status: 'failed', error, run_dir: null, ...NOTHING }
  }
  const { run_dir } = runResult(hosted!)
  return sweepRunOf(setting, seed, await readRun(await findRun(run_dir, run_dir)), error)
}

const NOTHING = { eval_loss: null, train_loss: null, cut_bytes: null, uplink_bytes: null, downlink_bytes: null, seconds: null }

async function completeRunOf(config: Config): Promise<Run | null> {
  const plain: unknown = JSON.parse(JSON.stringify(config))
  for (const reference of await listRuns(config.output.output_dir)) {
    if (reference.name !== config.output.run_name) continue
    const run = await readRun(reference)
    const isSame = run.summary?.status === 'complete' && run.metadata?.versions['cutlayer'] === packageVersion()
    if (isSame && isDeepStrictEqual(run.config, plain)) return run
  }
  return null
}
