/**
 * @file The built program as a process of its own: what it prints, how it ends, and the processes that it started.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { packageRoot } from '../../shared/version.node.js'

export interface Envelope {
  readonly schema_version: number
  readonly status: 'ok' | 'error'
  readonly exit_code: number
  readonly data: unknown
  readonly error?: { readonly code: string; readonly what: string; readonly why: string; readonly fix: string }
}

export interface Ending {
  readonly status: number | null
  readonly stderr: string
  /** The last line on stdout. */
  readonly envelope: Envelope
}

export interface Program {
  readonly child: ChildProcess
  /** JSON lines on stdout so far. */
  readonly lines: readonly Record<string, unknown>[]
  /** Resolves with the first line that has these fields, past or to come; rejects if the process ends without it. */
  line(fields: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>
  /** Resolves when stderr has said this. */
  says(words: string): Promise<void>
  readonly ended: Promise<Ending>
}

/** Starts the program with `--format json`. */
export function startProgram(args: readonly string[], options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv }): Program {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli.js'), ...args, '--format', 'json'], {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: Record<string, unknown>[] = []
  const checks = new Set<() => void>()
  const check = (): void => checks.forEach((look) => look())
  let stderr = ''
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(JSON.parse(line) as Record<string, unknown>)
    check()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    check()
  })
  const ended = new Promise<Ending>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve({ status, stderr, envelope: lines.at(-1) as unknown as Envelope }))
  })
  const until = async <T>(wanted: string, look: () => T | undefined): Promise<T> => {
    const found = new Promise<T>((resolve) => {
      const attempt = (): void => {
        const value = look()
        if (value === undefined) return
        checks.delete(attempt)
        resolve(value)
      }
      checks.add(attempt)
      attempt()
    })
    const tooLate = ended.then((): never => {
      throw new Error(`the program ended before ${wanted}: ${stderr}\n${JSON.stringify(lines.at(-1))}`)
    })
    return Promise.race([found, tooLate])
  }
  return {
    child,
    lines,
    line: (fields) =>
      until(JSON.stringify(fields), () => lines.find((line) => Object.entries(fields).every(([key, value]) => line[key] === value))),
    says: (words) => until(words, () => (stderr.includes(words) ? true : undefined)).then(() => undefined),
    ended,
  }
}

export interface RunningProcess {
  readonly pid: number
  readonly command: string
}

/** The processes whose command line has these words. */
export async function processesOf(words: string): Promise<RunningProcess[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-ww', '-o', 'pid=,stat=,args='], { maxBuffer: 2 ** 24 })
  return stdout.split('\n').flatMap((line) => {
    const [, pid, state, command] = /^\s*(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? []
    // A zombie has ended; only its parent has not looked yet.
    return command?.includes(words) && !state.startsWith('Z') ? [{ pid: Number(pid), command }] : []
  })
}

/** Processes that this one has started. */
export async function childrenOf(parent: number): Promise<RunningProcess[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-ww', '-o', 'pid=,ppid=,args='], { maxBuffer: 2 ** 24 })
  return stdout.split('\n').flatMap((line) => {
    const [, pid, ppid, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? []
    return Number(ppid) === parent && command !== undefined ? [{ pid: Number(pid), command }] : []
  })
}

export interface StartedPrograms {
  start(...given: Parameters<typeof startProgram>): Program
  /** Kills what was started, and what that has started with this folder in its command line; resolves when the programs have ended. */
  end(folder: string): Promise<void>
}

/** Starts programs for tests that leave some running. */
export function startedPrograms(): StartedPrograms {
  const started: Program[] = []
  return {
    start(...given) {
      const program = startProgram(...given)
      started.push(program)
      return program
    },
    async end(folder) {
      for (const { child, ended } of started.splice(0)) {
        child.kill('SIGKILL')
        await ended
      }
      for (const { pid } of await processesOf(folder)) process.kill(pid, 'SIGKILL')
    },
  }
}
