/**
 * @file Opens a run that was interrupted, to go on with it: takes its lock, and reads its config, its newest whole checkpoint and its lines.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Config } from '../../shared/config/schema.js'
import { loadResolvedConfig } from '../../shared/config/load.node.js'
import { UserError } from '../../shared/errors.js'
import { Metadata, Summary } from '../../shared/run-records.js'
import type { CheckpointContents } from '../checkpoint/contents.js'
import { newestCheckpoint, type TornCheckpoint } from '../checkpoint/read.js'
import { checkpointFolder } from '../checkpoint/write.js'
import { lockFile } from '../run-directory.js'
import { takeRunLock, type RunLock } from '../run-lock.js'
import { configToGoOnWith } from './config.js'
import { readRunLines, type RunLines } from './run-lines.js'

export interface InterruptedRun {
  readonly folder: string
  readonly lock: RunLock
  readonly metadata: Metadata
  /** What it goes on with. */
  readonly config: Config
  /** null: the run starts at its beginning. */
  readonly checkpoint: CheckpointContents | null
  /** Newer checkpoints that are not whole. */
  readonly torn: readonly TornCheckpoint[]
  readonly lines: RunLines
  /** Whether it was through once, and goes on only because it has more rounds now: clients have let go of what they kept for it. */
  readonly wasComplete: boolean
}

/**
 * @param folder of the run
 * @param asked makes the config that it is to go on with of its own
 * @throws UserError RUN_IN_USE, RUN_FINISHED, RESUME_DIFFERS, CHECKPOINT_CORRUPT, CHECKPOINT_TOO_NEW, RUN_NOT_FOUND for a folder that is none of a run,
 *   what `asked` throws. The run is as it was then.
 */
export async function openInterruptedRun(folder: string, asked: (own: Config) => Promise<Config>): Promise<InterruptedRun> {
  const metadata = await readMetadata(folder)
  const lock = await takeLock(folder)
  try {
    const own = await loadResolvedConfig(join(folder, 'config.yaml'))
    const config = configToGoOnWith(own, await asked(own))
    const found = await newestCheckpoint(join(folder, 'checkpoints'))
    const wasComplete = (await readSummary(folder))?.status === 'complete'
    const round = found?.contents.state.round ?? null
    if (wasComplete && (round === null || round >= config.federation.num_rounds)) throw finished(folder, round, config)
    const lines = await readRunLines(folder, round ?? -1)
    return { folder, lock, metadata, config, checkpoint: found?.contents ?? null, torn: found?.torn ?? [], lines, wasComplete }
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Torn checkpoints stand in the way of those that will be written of their rounds. */
export async function removeTorn({ folder, torn }: InterruptedRun): Promise<void> {
  for (const { round } of torn) await rm(checkpointFolder(join(folder, 'checkpoints'), round), { recursive: true, force: true })
}

/** A process that was killed a moment ago may not have ended yet. */
const PATIENCE_MS = 2000
const LOOK_MS = 50

async function takeLock(folder: string): Promise<RunLock> {
  for (const begun = performance.now(); ; await setTimeout(LOOK_MS)) {
    try {
      return lockOf(folder)
    } catch (error) {
      if (performance.now() - begun > PATIENCE_MS || !(error instanceof UserError && error.code === 'RUN_IN_USE')) throw error
    }
  }
}

function lockOf(folder: string): RunLock {
  try {
    return takeRunLock(lockFile(folder))
  } catch (cause) {
    if (cause instanceof UserError) throw cause
    throw new UserError(
      {
        code: 'RUN_DIR_UNWRITABLE',
        what: "the run's folder cannot be written",
        why: cause instanceof Error ? cause.message : String(cause),
        fix: 'make it writable, on a disk with room',
      },
      { cause },
    )
  }
}

async function readMetadata(folder: string): Promise<Metadata> {
  const value = await readJson(join(folder, 'metadata.json'))
  // As it is, with what a newer version may have added.
  if (Metadata.safeParse(value).success) return value as Metadata
  throw new UserError({
    code: 'RUN_NOT_FOUND',
    what: `${folder} is no run that can be gone on with`,
    why: 'its metadata.json is missing, or not one that this version knows',
    fix: 'see "cutlayer list" for the runs that there are',
  })
}

async function readSummary(folder: string): Promise<Summary | null> {
  const { data } = Summary.safeParse(await readJson(join(folder, 'metrics', 'summary.json')))
  return data ?? null
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch {
    return null
  }
}

function finished(folder: string, round: number | null, { federation }: Config): UserError {
  return new UserError({
    code: 'RUN_FINISHED',
    what: 'the run has finished, and there is nothing to go on with',
    why: round === null ? `${folder} has no checkpoint` : `all ${federation.num_rounds} rounds of ${folder} are made`,
    fix:
      round === null
        ? 'start a new run, from its adapter with lora.init_from if need be'
        : `to train it further, give it more rounds: federation.num_rounds=${2 * federation.num_rounds}`,
  })
}
