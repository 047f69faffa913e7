/**
 * @file `--resume-or-start`: for a service that is started again and again with the same words. The newest run of the config's name goes on, or, where
 * there is none, begins; one that is over stays so.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { listRuns } from '../../shared/find-run.node.js'
import { openInterruptedRun, type InterruptedRun } from './interrupted-run.js'

/** What a run is called without `output.run_name`. */
const DEFAULT_NAME = 'run'

export type ServiceRun =
  | { readonly state: 'new' }
  | { readonly state: 'interrupted'; readonly run: InterruptedRun }
  | { readonly state: 'over'; readonly folder: string; readonly name: string }

/**
 * What a service with this config is to do. Whoever gets an interrupted run releases its lock in the end.
 * @throws UserError RESUME_DIFFERS if the config is no longer that of its run, and what openInterruptedRun throws besides.
 */
export async function serviceRun(config: Config): Promise<ServiceRun> {
  const name = config.output.run_name ?? DEFAULT_NAME
  const runs = await listRuns(config.output.output_dir)
  // A process that was killed while it made a folder may have left one that is no run yet.
  const newest = runs.findLast((run) => run.name === name && existsSync(join(run.folder, 'metadata.json')))
  if (!newest) return { state: 'new' }
  try {
    return { state: 'interrupted', run: await openInterruptedRun(newest.folder, async () => config) }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    if (error.code === 'RUN_FINISHED') return { state: 'over', folder: newest.folder, name }
    if (error.code !== 'RESUME_DIFFERS') throw error
    const fix = `give another run another name (output.run_name), or put the config back as it was: ${join(newest.folder, 'config.yaml')}`
    throw new UserError({ ...error.report(), fix }, { cause: error })
  }
}
