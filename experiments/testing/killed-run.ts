/**
 * @file Kills a run's processes at a moment, goes on with it, kills it again, and so on until it ends; and what two runs are compared by.
 */
import { readFileSync, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { findRun, readRun, readSteps } from '../runs.js'
import { childrenOf, startProgram, type Ending, type Program } from './program.js'

/** When to kill: so long after the run's folder is there, or once a file of it has so many lines. */
export type Moment = { readonly afterMs: number } | { readonly file: string; readonly lines: number }

/** Resolves at the moment, or when the program has ended before. */
export async function untilMoment(program: Program, folder: string, moment: Moment): Promise<void> {
  const ended = program.ended.then(() => undefined)
  if ('afterMs' in moment) return Promise.race([setTimeout(moment.afterMs), ended])
  const path = join(folder, moment.file)
  const isThere = (): boolean => linesIn(path) >= moment.lines
  const watcher = watch(path)
  try {
    const there = new Promise<void>((resolve) => {
      watcher.on('change', () => isThere() && resolve())
      if (isThere()) resolve()
    })
    await Promise.race([there, ended])
  } finally {
    watcher.close()
  }
}

/** The program and all that it has started, at once. Resolves when it is gone. */
export async function killAll({ child, ended }: Program): Promise<void> {
  const started = await childrenOf(child.pid!)
  child.kill('SIGKILL')
  for (const pid of started) kill(pid)
  await ended
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

export interface KilledRun {
  readonly folder: string
  /** Of the process that came to the end. */
  readonly ending: Ending
  /** How often the run was killed before its end. */
  readonly kills: number
}

/**
 * Starts a run and kills it at each of the moments, unless it has ended before; then lets it end.
 * @param first what is typed to start it, `again` what is typed to go on with the run in that folder
 */
export async function runWithKills(
  options: Parameters<typeof startProgram>[1],
  first: readonly string[],
  again: (folder: string) => readonly string[],
  moments: readonly Moment[],
): Promise<KilledRun> {
  let program = startProgram(first, options)
  const { run_dir: folder } = (await program.line({ event: 'start' })) as { run_dir: string }
  let kills = 0
  for (const moment of moments) {
    await untilMoment(program, folder, moment)
    if (program.child.exitCode !== null) break
    await killAll(program)
    kills++
    program = startProgram(again(folder), options)
    await program.line({ event: 'start' })
  }
  return { folder, ending: await program.ended, kills }
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
