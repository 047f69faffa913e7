/**
 * @file Where a step's time goes, by kind of op: what ONNX Runtime's profiler wrote, added up.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../shared/errors.js'
import { table, type Column } from '../inspect/table.js'

/** Times in the profile are whole microseconds on a clock of its own. */
const Events = z.array(
  z.looseObject({ name: z.string(), ts: z.number(), dur: z.number(), args: z.looseObject({ op_name: z.string().optional() }) }),
)
type ProfileEvent = z.infer<typeof Events>[number]

/** All nodes of one op, in one step. */
export interface OpTime {
  /** The runtime's name, as Gemm. Fused ops have names of their own. */
  readonly op: string
  readonly nodes: number
  readonly milliseconds: number
  /** Of the time that the runtime's call takes. */
  readonly share: number
}

export interface StepProfile {
  /** Mean time of the runtime's call in a step; what a step takes beyond is JavaScript. */
  readonly runMilliseconds: number
  /** The one that takes longest comes first. What their shares lack of 1 goes by between the nodes. */
  readonly ops: readonly OpTime[]
}

/** Where profiles of a prefix are found once their program is disposed. */
export interface ProfileFiles {
  readonly prefix: string
  /** Those written since the beginning. */
  written(): Promise<string[]>
}

/** Makes the folder that files of the prefix lie in, if need be. @throws UserError OUTPUT_UNWRITABLE */
export async function profileFiles(prefix: string): Promise<ProfileFiles> {
  const folder = dirname(prefix)
  const list = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.startsWith(`${basename(prefix)}_`))
  try {
    await mkdir(folder, { recursive: true })
    const before = new Set(await list())
    return {
      prefix,
      written: async () => (await list()).filter((name) => !before.has(name)).map((name) => join(folder, name)),
    }
  } catch (error) {
    throw new UserError({
      code: 'OUTPUT_UNWRITABLE',
      what: 'there can be no profile',
      why: `${folder}: ${(error as Error).message}`,
      fix: 'give --profile a prefix in a folder that you may write to',
    })
  }
}

/** @param skipped steps at the beginning that do not count. @returns null if nothing ran after those. */
export async function readStepProfile(paths: readonly string[], skipped: number): Promise<StepProfile | null> {
  const events = await Promise.all(paths.map(async (path) => Events.parse(JSON.parse(await readFile(path, 'utf8')))))
  return stepProfile(events.flat(), skipped)
}

function stepProfile(events: readonly ProfileEvent[], skipped: number): StepProfile | null {
  const runs = events
    .filter(({ name }) => name === 'model_run')
    .sort((a, b) => a.ts - b.ts)
    .slice(skipped)
  const first = runs[0]
  if (!first) return null
  const runMicroseconds = runs.reduce((sum, { dur }) => sum + dur, 0)
  const byOp = new Map<string, { nodes: number; microseconds: number }>()
  for (const { name, ts, dur, args } of events) {
    if (ts < first.ts || args.op_name === undefined || !name.endsWith('_kernel_time')) continue
    const { nodes, microseconds } = byOp.get(args.op_name) ?? { nodes: 0, microseconds: 0 }
    byOp.set(args.op_name, { nodes: nodes + 1, microseconds: microseconds + dur })
  }
  const ops = [...byOp].map(([op, { nodes, microseconds }]) => ({
    op,
    nodes: nodes / runs.length,
    milliseconds: microseconds / 1000 / runs.length,
    share: microseconds / runMicroseconds,
  }))
  return { runMilliseconds: runMicroseconds / 1000 / runs.length, ops: ops.sort((a, b) => b.milliseconds - a.milliseconds) }
}

const COLUMNS: readonly Column<OpTime>[] = [
  { title: 'op', cell: ({ op }) => op },
  { title: 'nodes', cell: ({ nodes }) => nodes.toFixed(0), align: 'right' },
  { title: 'ms a step', cell: ({ milliseconds }) => milliseconds.toFixed(1), align: 'right' },
  { title: 'share', cell: ({ share }) => `${(100 * share).toFixed(1)}%`, align: 'right' },
]

/** Of the ops that take longest. */
export function profileTable({ ops }: StepProfile, most: number, paintTitle: (text: string) => string): string {
  return table(COLUMNS, ops.slice(0, most), paintTitle)
}
