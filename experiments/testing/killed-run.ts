/**
 * @file Kills a run's processes at a moment, goes on with it, kills it again, and so on until it ends; and what two runs are compared by.
 */
import { readFileSync, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { derive } from '../../shared/random.js'
import { findRun, readRun, readSteps } from '../runs.js'
import { childrenOf, type Ending, type Program } from './program.js'

/** When: so long after the program has told that the run is open, or once a file of the run has so many lines more. */
export type Moment = { readonly afterMs: number } | { readonly file: string; readonly moreLines: number }

export interface Blow {
  readonly at: Moment
  /** The program that writes the run with all that it has started, that program alone, or a client. */
  readonly whom: 'all' | 'program' | 'client'
}

/** Blows that are the same for the same seed, at any moment of a small run. */
export function drawBlows(seed: number, whom: readonly Blow['whom'][]): Blow[] {
  return whom.map((each, index) => {
    const random = derive(seed, 'blow', index)
    const places: readonly (() => Moment)[] = [
      () => ({ afterMs: random.below(300) }),
      () => ({ file: 'metrics/steps.jsonl', moreLines: 1 + random.below(12) }),
      () => ({ file: 'metrics/rounds.jsonl', moreLines: 1 }),
      () => ({ file: 'events.jsonl', moreLines: 1 + random.below(2) }),
    ]
    return { at: places[random.below(places.length)]!(), whom: each }
  })
}

/** Resolves at the moment, or when the program has ended before. */
async function untilMoment({ ended }: Program, folder: string, at: Moment): Promise<void> {
  if ('afterMs' in at) return Promise.race([setTimeout(at.afterMs), ended.then(() => undefined)])
  const path = join(folder, at.file)
  const lines = linesIn(path) + at.moreLines
  const watcher = watch(path)
  try {
    const there = new Promise<void>((resolve) => watcher.on('change', () => linesIn(path) >= lines && resolve()))
    await Promise.race([there, ended])
  } finally {
    watcher.close()
  }
}

export interface RunUnderBlows {
  /** Starts the run. Its program tells `start`. */
  first(): Program
  /** Goes on with the run in that folder. */
  again(folder: string): Program
  /** Kills a client of the program, and sees to it that it is started again. */
  killClient(program: Program): Promise<void>
}

export interface KilledRun {
  readonly folder: string
  /** Of the program that came to the run's end. */
  readonly ending: Ending
  /** How many blows have hit before the end. */
  readonly hits: number
}

/** Starts a run, deals it one blow after the other, goes on with it after each, and then lets it end. */
export async function runUnderBlows(run: RunUnderBlows, blows: readonly Blow[]): Promise<KilledRun> {
  let program = run.first()
  const { run_dir: folder } = (await program.line({ event: 'start' })) as { run_dir: string }
  let hits = 0
  for (const { at, whom } of blows) {
    await untilMoment(program, folder, at)
    const { child } = program
    if (child.exitCode !== null) break
    if (whom === 'client') await run.killClient(program)
    else {
      await kill(program, whom === 'all')
      program = run.again(folder)
      await program.line({ event: 'start' })
    }
    hits++
  }
  return { folder, ending: await program.ended, hits }
}

/** Resolves when the program is gone. */
async function kill({ child, ended }: Program, withAll: boolean): Promise<void> {
  const started = withAll ? await childrenOf(child.pid!) : []
  child.kill('SIGKILL')
  for (const { pid } of started) killProcess(pid)
  await ended
}

/** Unless it has ended by itself. @returns whether it had not */
export function killProcess(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}

/** What two runs of the same numbers have in common to the last bit. */
export async function numbersOf(folder: string): Promise<unknown> {
  const run = await readRun(await findRun(folder, ''))
  const { steps } = await readSteps(run)
  const bytes = async (name: string): Promise<string | null> =>
    (await readFile(join(folder, name)).catch(() => null))?.toString('base64') ?? null
  const { summary } = run
  return {
    adapter: await bytes('adapter/adapter_model.safetensors'),
    adapterConfig: await bytes('adapter/adapter_config.json'),
    card: await bytes('adapter/README.md'),
    best: await bytes('adapter-best/adapter_model.safetensors'),
    bestCard: await bytes('adapter-best/README.md'),
    rounds: run.rounds.map(({ round, train_loss, eval_loss, clients, aggregation }) => ({
      ...{ round, train_loss, eval_loss, aggregation },
      clients: clients.map(({ id, examples, tokens, steps: made, train_loss: train, eval_loss: held }) => ({
        id,
        examples,
        tokens,
        made,
        train,
        held,
      })),
    })),
    steps: steps
      .map(({ attempt: _, ...step }) => step)
      .sort((a, b) => a.round - b.round || a.step - b.step || ((a.client ?? '') < (b.client ?? '') ? -1 : 1)),
    summary: summary && {
      status: summary.status,
      rounds: summary.rounds,
      before: summary.before,
      last: summary.last,
      best: summary.best,
      error: summary.error,
    },
  }
}

function linesIn(path: string): number {
  try {
    return readFileSync(path, 'utf8').split('\n').length - 1
  } catch {
    return 0
  }
}
