/**
 * @file Finds runs and reads them back.
 *
 * A run may be under way, or have crashed: what cannot be read is left out with a warning, and the rest is shown.
 */
import { type Dirent, existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { parse } from 'yaml'
import type { z } from 'zod'
import { UserError } from '../shared/errors.js'
import { EventLine, Metadata, RoundLine, StepLine, Summary, TrafficLine } from '../shared/run-records.js'

/** Where a run lies, and what its folder's name says. */
export interface RunReference {
  /** Absolute. */
  readonly folder: string
  readonly name: string
  readonly id: string
  /** When it started, UTC, as `20260131-235959`; sorts as time does. */
  readonly stamp: string
}

export interface Run extends RunReference {
  /** The resolved config as plain data; a newer or older program may have written it. */
  readonly config: unknown
  readonly metadata: Metadata | null
  readonly summary: Summary | null
  /** By round, from 0; of each only the highest attempt. */
  readonly rounds: readonly RoundLine[]
  readonly traffic: readonly TrafficLine[]
  readonly events: readonly EventLine[]
  readonly warnings: readonly string[]
}

const FOLDER_NAME = /^(\d{8}-\d{6})_(.+)_([A-Za-z0-9]+)$/

/** All runs in a folder, oldest first; none if there is no such folder. */
export async function listRuns(outputDir: string): Promise<readonly RunReference[]> {
  let entries: Dirent[]
  try {
    entries = await readdir(outputDir, { withFileTypes: true })
  } catch {
    return []
  }
  const runs = entries.filter((entry) => entry.isDirectory()).map((entry) => referenceOf(join(resolve(outputDir), entry.name)))
  const dated = await Promise.all(runs.filter((run) => run !== null).map(async (run) => ({ run, startedMs: await startedMs(run.folder) })))
  // Two runs of the same second are told apart by the file that is written first in each.
  return dated
    .sort((a, b) => (a.run.stamp < b.run.stamp ? -1 : a.run.stamp > b.run.stamp ? 1 : a.startedMs - b.startedMs))
    .map(({ run }) => run)
}

function referenceOf(folder: string): RunReference | null {
  const match = FOLDER_NAME.exec(basename(folder))
  if (match === null || !existsSync(join(folder, 'config.yaml'))) return null
  const [, stamp, name, id] = match as unknown as [string, string, string, string]
  return { folder, stamp, name, id }
}

async function startedMs(folder: string): Promise<number> {
  return (await stat(join(folder, 'config.yaml'))).mtimeMs
}

/**
 * The run that a person means.
 *
 * @param reference a folder, a folder's name, a run's name (then its newest) or its id, a group's id (then its last); undefined: the newest of all
 * @throws UserError RUN_NOT_FOUND
 */
export async function findRun(reference: string | undefined, outputDir: string): Promise<RunReference> {
  if (reference !== undefined && existsSync(join(reference, 'config.yaml'))) {
    const folder = resolve(reference)
    return referenceOf(folder) ?? { folder, stamp: '', name: basename(folder), id: basename(folder) }
  }
  const runs = await listRuns(outputDir)
  const found =
    runs.findLast((run) => reference === undefined || [basename(run.folder), run.id, run.name].includes(reference)) ??
    (reference === undefined ? undefined : (await runsOfGroup(reference, outputDir)).at(-1))
  if (found !== undefined) return found
  throw new UserError({
    code: 'RUN_NOT_FOUND',
    what: reference === undefined ? 'there is no run to show' : `there is no run called ${reference}`,
    why:
      runs.length === 0
        ? `${resolve(outputDir)} holds no run`
        : `it is no folder, name or id of ${runs.length === 1 ? 'the one run' : `the ${runs.length} runs`} in ${resolve(outputDir)}`,
    fix:
      runs.length === 0
        ? 'start one with "cutlayer run", or name the folder of runs with --output-dir'
        : 'see "cutlayer list" for what there is',
  })
}

/** The runs that one command made of several seeds, in their order; none if there is no such group. */
export async function runsOfGroup(group: string, outputDir: string): Promise<readonly RunReference[]> {
  const runs = await listRuns(outputDir)
  const found = await Promise.all(
    runs.map(async (run) => {
      const metadata = await readJson(join(run.folder, 'metadata.json'), Metadata, () => undefined)
      return metadata?.group?.id === group ? [{ run, index: metadata.group.index }] : []
    }),
  )
  return found
    .flat()
    .sort((a, b) => a.index - b.index)
    .map(({ run }) => run)
}

/** Reads all of a run but its steps. */
export async function readRun(reference: RunReference): Promise<Run> {
  const warnings: string[] = []
  const warn = (text: string): number => warnings.push(text)
  const { folder } = reference
  const rounds = await readJsonLines(join(folder, 'metrics', 'rounds.jsonl'), RoundLine, warn)
  const traffic = await readJsonLines(join(folder, 'traffic.jsonl'), TrafficLine, warn)
  return {
    ...reference,
    config: await readConfig(join(folder, 'config.yaml'), warn),
    metadata: await readJson(join(folder, 'metadata.json'), Metadata, warn),
    summary: await readJson(join(folder, 'metrics', 'summary.json'), Summary, warn),
    rounds: lastAttempts(rounds).sort((a, b) => a.round - b.round),
    traffic: lastAttempts(traffic, rounds),
    events: await readJsonLines(join(folder, 'events.jsonl'), EventLine, warn),
    warnings,
  }
}

/** A run's steps, in the order they were made. */
export async function readSteps(run: Run): Promise<{ readonly steps: readonly StepLine[]; readonly warnings: readonly string[] }> {
  const warnings: string[] = []
  const steps = await readJsonLines(join(run.folder, 'metrics', 'steps.jsonl'), StepLine, (text) => warnings.push(text))
  return { steps: lastAttempts(steps, run.rounds), warnings }
}

/**
 * The lines of the highest attempt at each round.
 *
 * @param known lines of another file that also tell which attempts there were
 */
export function lastAttempts<Line extends { round: number; attempt: number }>(
  lines: readonly Line[],
  known: readonly { round: number; attempt: number }[] = [],
): Line[] {
  const highest = new Map<number, number>()
  for (const { round, attempt } of [...lines, ...known]) highest.set(round, Math.max(attempt, highest.get(round) ?? 0))
  return lines.filter(({ round, attempt }) => attempt === highest.get(round))
}

/** Lines that do not read are left out with a warning: a crash cuts the last one, and a resumed run may have gone on behind a cut one. */
export async function readJsonLines<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  warn: (text: string) => void,
): Promise<z.infer<Schema>[]> {
  const text = await readIfThere(path)
  if (text === null) return []
  const lines = text.split('\n')
  return lines.flatMap((line, index) => {
    if (line.trim() === '') return []
    const result = schema.safeParse(parseJson(line))
    if (result.success) return [result.data]
    const isCut = index === lines.length - 1
    warn(`${path}, line ${index + 1}: ${isCut ? 'cut off in the middle' : 'not a line that this version knows'}; left out`)
    return []
  })
}

async function readConfig(path: string, warn: (text: string) => void): Promise<unknown> {
  try {
    return parse(await readFile(path, 'utf8')) as unknown
  } catch {
    warn(`${path}: not YAML; left out`)
    return null
  }
}

async function readJson<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  warn: (text: string) => void,
): Promise<z.infer<Schema> | null> {
  const text = await readIfThere(path)
  if (text === null) return null
  const result = schema.safeParse(parseJson(text))
  if (result.success) return result.data
  warn(`${path}: not a file that this version knows; left out`)
  return null
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return null
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
