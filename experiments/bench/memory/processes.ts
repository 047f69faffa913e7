/**
 * @file The processes whose memory is measured, as their command lines would be typed: a server, its clients, and a step of the whole model.
 */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { ERROR_CODES, UserError, type ErrorCode, unreachable } from '../../../shared/errors.js'
import { spawnProgram } from '../../own-program.js'

interface Line {
  readonly event?: string
  readonly url?: string
  readonly status?: string
  readonly error?: { readonly code: string; readonly what: string; readonly why: string; readonly fix: string }
}

export interface MeasuredProcess {
  readonly pid: number
  /** Resolves with the address once a server listens; rejects if it ends before. */
  readonly listening: Promise<string>
  /** @throws UserError what the process ended with, if not well. */
  readonly ended: Promise<void>
  kill(): void
}

/** @param name in errors. @param environment beside this process's own. */
export function startMeasured(name: string, args: readonly string[], environment: NodeJS.ProcessEnv): MeasuredProcess {
  const child = spawnProgram([...args, '--format', 'json'], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let last: Line = {}
  const listening = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (text) => {
      last = parsed(text)
      if (last.event === 'listening' && last.url !== undefined) resolve(last.url)
    })
    child.once('close', () => reject(errorOf(name, last, child)))
  })
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => (code === 0 ? resolve() : reject(errorOf(name, last, child))))
  })
  // Whoever waits for the one or the other hears of it.
  listening.catch(() => {})
  ended.catch(() => {})
  return {
    pid: child.pid ?? unreachable('a process without an id'),
    listening,
    ended,
    kill: () => void child.kill('SIGKILL'),
  }
}

function parsed(text: string): Line {
  try {
    return JSON.parse(text) as Line
  } catch {
    return {}
  }
}

function errorOf(name: string, { error }: Line, child: ChildProcess): UserError {
  if (!error)
    return new UserError({
      code: 'CLIENT_FAILED',
      what: `${name} ended early`,
      why: child.signalCode === null ? `its status is ${child.exitCode}, and it left no message` : `it was ended by ${child.signalCode}`,
      fix: 'see whether the machine has memory enough, and try a smaller --batch or --seq',
    })
  const code = (Object.hasOwn(ERROR_CODES, error.code) ? error.code : 'CLIENT_FAILED') as ErrorCode
  return new UserError({ code, what: `${name}: ${error.what}`, why: error.why, fix: error.fix })
}
