/**
 * @file The lines of a run that goes on: which rounds stand, and which attempts were begun and count no more.
 */
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { RoundLine, TrafficLine } from '../../shared/run-records.js'

export interface RunLines {
  /** Of rounds up to the last that stands, by round. */
  readonly rounds: readonly RoundLine[]
  /** Of the last round that stands: none as long as its traffic is not written. */
  readonly traffic: readonly TrafficLine[]
  /** The highest attempt at each later round that any line names. */
  readonly abandoned: ReadonlyMap<number, number>
}

/**
 * Reads a run's lines. Those that a crash has cut, or that this version does not know, are passed over.
 * @param stands the last round that is through; -1: none, not even the evaluation before training
 */
export async function readRunLines(folder: string, stands: number): Promise<RunLines> {
  const rounds = new Map<number, RoundLine>()
  const traffic: TrafficLine[] = []
  const abandoned = new Map<number, number>()
  const look = (line: unknown): { readonly round: number; readonly attempt: number } | null => {
    const place = placeOf(line)
    if (place && place.round > stands) abandoned.set(place.round, Math.max(place.attempt, abandoned.get(place.round) ?? 0))
    return place
  }
  await eachLine(join(folder, 'metrics', 'rounds.jsonl'), (line) => {
    const place = look(line)
    if (!place || place.round > stands || (rounds.get(place.round)?.attempt ?? -1) > place.attempt) return
    const parsed = RoundLine.safeParse(line)
    if (parsed.success) rounds.set(place.round, parsed.data)
  })
  await eachLine(join(folder, 'traffic.jsonl'), (line) => {
    if (look(line)?.round !== stands) return
    const parsed = TrafficLine.safeParse(line)
    if (parsed.success) traffic.push(parsed.data)
  })
  await eachLine(join(folder, 'metrics', 'steps.jsonl'), look)
  await eachLine(join(folder, 'events.jsonl'), look)
  const last = Math.max(0, ...traffic.map(({ attempt }) => attempt))
  return {
    rounds: [...rounds.values()].sort((a, b) => a.round - b.round),
    traffic: traffic.filter(({ attempt }) => attempt === last),
    abandoned,
  }
}

/** Events name no attempt, but for those of attempts. */
function placeOf(line: unknown): { readonly round: number; readonly attempt: number } | null {
  if (typeof line !== 'object' || line === null || !('round' in line)) return null
  const { round } = line
  const attempt = 'attempt' in line ? line.attempt : 0
  return isCount(round) && isCount(attempt) ? { round, attempt } : null
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

async function eachLine(path: string, look: (line: unknown) => void): Promise<void> {
  const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity })
  try {
    for await (const line of lines) {
      try {
        look(JSON.parse(line))
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
