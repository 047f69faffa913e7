/**
 * @file Follows a run by its files until it is over: what it writes, and whether whoever writes still lives.
 *
 * The files are looked at again and again, five opens a time. Being told of changes (fs.watch) would save next to nothing, and is not told
 * everywhere: not on network folders, not in some containers, and never of a process that died.
 */
import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { EventLine, type Metadata, RoundLine, StepLine } from '../../shared/run-records.js'
import { JsonLinesTail } from './tail.js'

const LOOK_MS = 250
/** A run that is silent for so long is remarked upon, once. */
export const QUIET_MS = 60_000
/** After so long a silence the end is no longer waited for. A process is only known to live by its number, which may be another's by now. */
const GIVE_UP_MS = { unknown: 10 * 60_000, alive: 60 * 60_000 }

/** What was written since the last look, each in its order. */
export interface News {
  readonly events: readonly EventLine[]
  readonly steps: readonly StepLine[]
  readonly rounds: readonly RoundLine[]
}

/** How following ended: with the run; with the death of its process, before its end; or because nothing came any more. */
export type FollowEnd = 'over' | 'died' | 'silent'

export interface FollowOptions {
  readonly folder: string
  readonly metadata: Metadata | null
  /** Called at every look, also when there is no news. The first has all that was written before. */
  onLook(news: News): void
  /** Nothing was written for QUIET_MS. @param process whether the process that writes is known to live */
  onQuiet(process: 'alive' | 'unknown'): void
}

export async function followRun({ folder, metadata, onLook, onQuiet }: FollowOptions): Promise<FollowEnd> {
  const tails = {
    events: new JsonLinesTail(join(folder, 'events.jsonl'), EventLine),
    steps: new JsonLinesTail(join(folder, 'metrics', 'steps.jsonl'), StepLine),
    rounds: new JsonLinesTail(join(folder, 'metrics', 'rounds.jsonl'), RoundLine),
  }
  // Steps before rounds: of a round that is told as over, all steps were told.
  const look = async (): Promise<boolean> => {
    const news = { events: await tails.events.read(), steps: await tails.steps.read(), rounds: await tails.rounds.read() }
    onLook(news)
    return news.events.length + news.steps.length + news.rounds.length > 0
  }
  let isRemarked = false
  // What was written before is no news.
  let lastNewsMs = performance.now() - (await silenceMs(folder))
  for (let isFirst = true; ; isFirst = false) {
    // Whether it is over is asked first, and what was written until then is read after.
    const isOver = existsSync(join(folder, 'metrics', 'summary.json'))
    const process = isOver ? 'unknown' : processOf(metadata)
    const isNews = await look()
    if (isOver) return 'over'
    if (process === 'dead') return existsSync(join(folder, 'metrics', 'summary.json')) ? 'over' : 'died'
    if (isNews && !isFirst) lastNewsMs = performance.now()
    const quietMs = performance.now() - lastNewsMs
    if (quietMs > GIVE_UP_MS[process]) return 'silent'
    if (quietMs > QUIET_MS && !isRemarked) {
      isRemarked = true
      onQuiet(process)
    }
    await setTimeout(LOOK_MS)
  }
}

/** Time since anything was written into the run's lines. */
async function silenceMs(folder: string): Promise<number> {
  const paths = ['metadata.json', 'events.jsonl', 'metrics/steps.jsonl', 'metrics/rounds.jsonl']
  const times = await Promise.all(paths.map((path) => stat(join(folder, path)).then(({ mtimeMs }) => mtimeMs, () => 0))) // prettier-ignore
  return Math.max(0, Date.now() - Math.max(...times))
}

/** The number of the process that writes a run: the last that went on with it, or the one that began it. */
export function lastProcess(metadata: Pick<Metadata, 'pid' | 'resumed'> | null): number | undefined {
  return metadata?.resumed?.at(-1)?.pid ?? metadata?.pid
}

/** Whether the process that writes a run lives. Only its own machine can tell, and a run of an older version does not name it. */
export function processOf(metadata: Pick<Metadata, 'host' | 'pid' | 'resumed'> | null): 'alive' | 'dead' | 'unknown' {
  const pid = lastProcess(metadata)
  if (pid === undefined || metadata?.host.name !== hostname()) return 'unknown'
  try {
    process.kill(pid, 0)
    return 'alive'
  } catch (error) {
    // It may be another user's.
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'alive' : 'dead'
  }
}
