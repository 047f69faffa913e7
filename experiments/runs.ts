/**
 * @file Reads runs back.
 *
 * A run may be under way, or have crashed: what cannot be read is left out with a warning, and the rest is shown.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import type { RunReference } from '../shared/find-run.node.js'
import { EventLine, Metadata, RoundLine, StepLine, Summary, TrafficLine } from '../shared/run-records.js'

export { findRun, listRuns, runsOfGroup, type RunReference } from '../shared/find-run.node.js'

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

/** Reads all of a run but its steps. */
export async function readRun(reference: RunReference): Promise<Run> {
  const warnings: string[] = []
  const warn = (text: string): number => warnings.push(text)
  const { folder } = reference
  const rounds = await readJsonLines(join(folder, 'metrics', 'rounds.jsonl'), RoundLine, warn)
  const traffic = await readJsonLines(join(folder, 'traffic.jsonl'), TrafficLine, warn)
  const events = await readJsonLines(join(folder, 'events.jsonl'), EventLine, warn)
  const abandoned = abandonedAttempts(events)
  return {
    ...reference,
    config: await readConfig(join(folder, 'config.yaml'), warn),
    metadata: await readJson(join(folder, 'metadata.json'), Metadata, warn),
    summary: await readJson(join(folder, 'metrics', 'summary.json'), Summary, warn),
    rounds: lastAttempts(standing(rounds, abandoned)).sort((a, b) => a.round - b.round),
    traffic: lastAttempts(standing(traffic, abandoned), rounds),
    events,
    warnings,
  }
}

/** A run's steps, in the order they were made. */
export async function readSteps(run: Run): Promise<{ readonly steps: readonly StepLine[]; readonly warnings: readonly string[] }> {
  const warnings: string[] = []
  const steps = await readJsonLines(join(run.folder, 'metrics', 'steps.jsonl'), StepLine, (text) => warnings.push(text))
  return { steps: lastAttempts(standing(steps, abandonedAttempts(run.events)), run.rounds), warnings }
}

const Abandoned = z.array(z.object({ round: z.int(), attempt: z.int() }))

/** The highest attempt at each round that was begun and given up when the run went on from a checkpoint: it counts no more, whether made again or not. */
export function abandonedAttempts(events: readonly EventLine[]): ReadonlyMap<number, number> {
  const highest = new Map<number, number>()
  for (const { event, abandoned } of events) {
    if (event !== 'resume') continue
    for (const { round, attempt } of Abandoned.safeParse(abandoned).data ?? [])
      highest.set(round, Math.max(attempt, highest.get(round) ?? 0))
  }
  return highest
}

/** The lines of attempts that were not given up. */
export function standing<Line extends { round: number; attempt: number }>(
  lines: readonly Line[],
  abandoned: ReadonlyMap<number, number>,
): Line[] {
  return lines.filter(({ round, attempt }) => attempt > (abandoned.get(round) ?? -1))
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
