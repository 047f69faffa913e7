/**
 * @file Measures whole runs from outside: `cutlayer run` as a process of its own, as a user would start it.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { ERROR_CODES, UserError, type ErrorCode } from '../../shared/errors.js'
import { beforeExit } from '../../shared/exit.node.js'
import { packageRoot } from '../../shared/version.node.js'
import { readMemory } from './memory/proc.js'

/** How often the process's memory is looked at. */
const SAMPLE_MS = 250

const Round = z.looseObject({
  event: z.literal('round'),
  round: z.int(),
  train_loss: z.number().nullable(),
  seconds: z.number(),
  uplink_bytes: z.number(),
  downlink_bytes: z.number(),
})
const Failed = z.looseObject({ error: z.looseObject({ code: z.string(), what: z.string(), why: z.string(), fix: z.string() }) })
const Traced = z.looseObject({ data: z.looseObject({ trace: z.looseObject({ engine_busy_share: z.number().nullable() }) }) })

export type MeasuredRound = Pick<z.infer<typeof Round>, 'round' | 'train_loss' | 'seconds' | 'uplink_bytes' | 'downlink_bytes'>

export interface MeasuredRun {
  /** Those of training, from round 1 on. */
  readonly rounds: readonly MeasuredRound[]
  /** From the start of the process until training began: model, rows, programs, and all clients ready. */
  readonly startSeconds: number
  /** Largest private memory seen of the process that was started; null where the system does not tell. */
  readonly peakPrivateBytes: number | null
  /** Of the cores' time, see busy-share.ts; null where the system does not tell, or no trace was written. */
  readonly engineBusyShare: number | null
}

/** A folder for models, rows and runs, which is gone when the work is done or the process ends. */
export async function inBenchFolder<Result>(work: (folder: BenchFolder) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), `cutlayer-bench-${process.pid}-`))
  const children = new Set<ChildProcess>()
  const cleanUp = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL')
    await Promise.all([...children].map((child) => once(child, 'close')))
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const takeBack = beforeExit(cleanUp)
  try {
    return await work({
      path: (name) => join(folder, name),
      run: (config, onRound, trace) => measureRun(folder, children, config, onRound, trace),
    })
  } finally {
    await cleanUp()
    takeBack()
  }
}

export interface BenchFolder {
  path(name: string): string
  /**
   * Runs a config, whose paths are relative to the folder.
   * @param trace the absolute path of a trace to write.
   * @throws UserError what the run failed of.
   */
  run(config: object, onRound?: (round: number) => void, trace?: string): Promise<MeasuredRun>
}

async function measureRun(
  folder: string,
  children: Set<ChildProcess>,
  config: object,
  onRound?: (round: number) => void,
  trace?: string,
): Promise<MeasuredRun> {
  // JSON is YAML, too.
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config))
  const startMs = performance.now()
  const args = ['run', 'config.yaml', '--format', 'json', ...(trace === undefined ? [] : ['--trace', trace])]
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli.js'), ...args], {
    cwd: folder,
    // Its prepared weights are of no use to anyone else.
    env: { ...process.env, CUTLAYER_CACHE: join(folder, 'cache') },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.add(child)
  const rounds: MeasuredRound[] = []
  let startSeconds = 0
  let peak: number | null = null
  let last = ''
  const look = (): void => {
    const memory = child.pid === undefined ? null : readMemory(child.pid)
    if (memory) peak = Math.max(peak ?? 0, memory.privateBytes)
  }
  const timer = setInterval(look, SAMPLE_MS)
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    last = line
    const { success, data } = Round.safeParse(JSON.parse(line))
    if (!success) return
    // The evaluation before training has its line when it ends, whatever it took.
    if (data.round === 0) startSeconds = (performance.now() - startMs) / 1000
    else rounds.push(data)
    look()
    onRound?.(data.round)
  })
  try {
    const [status] = (await once(child, 'close')) as [number | null]
    if (status !== 0) throw failed(last)
    const { success, data } = Traced.safeParse(JSON.parse(last))
    return { rounds, startSeconds, peakPrivateBytes: peak, engineBusyShare: success ? data.data.trace.engine_busy_share : null }
  } finally {
    children.delete(child)
    clearInterval(timer)
  }
}

function failed(line: string): UserError {
  const fallback = { code: 'CLIENT_FAILED', what: 'the run that was to be measured ended', why: 'it left no message', fix: 'try again' }
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    value = null
  }
  const { success, data } = Failed.safeParse(value)
  const { code, what, why, fix } = success ? data.error : fallback
  return new UserError({ code: (Object.hasOwn(ERROR_CODES, code) ? code : 'CLIENT_FAILED') as ErrorCode, what, why, fix })
}
