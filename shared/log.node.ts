/**
 * @file Logs to a file (JSON lines, for programs) or to a stream of lines such as stderr (plain, for people).
 *
 * log-settings.node.ts has what the environment says of them.
 */
import { pino } from 'pino'
import { UserError } from './errors.js'
import type { Log, LogLevel } from './log.js'
import { logSettings } from './log-settings.node.js'
import { RotatingFile, type RotationLimits } from './rotating-file.node.js'

/** Fields of these names never reach a log, at the top or one level down. */
const SECRETS = ['token', 'authorization'].flatMap((name) => [name, `*.${name}`])
const NAMED_LEVELS = { level: (label: string) => ({ level: label }) }

export interface FileLog extends Log {
  /** Frees the file; what is logged after it goes nowhere. */
  close(): void
}

/**
 * A log that appends JSON lines to a file, whose folder is made if need be; each line is in the file when the call returns. A full file is set aside.
 * @throws UserError RUN_DIR_UNWRITABLE; BAD_ARGUMENT for what the environment says
 */
export function fileLog(path: string, environment: NodeJS.ProcessEnv = process.env): FileLog {
  const { level, rotation } = logSettings(environment)
  const file = opened(path, rotation)
  return Object.assign(
    jsonLog((line) => file.append(line), level ?? 'info'),
    { close: () => file.close() },
  )
}

/** A log that hands on JSON lines with their ends, each with its time in UTC. */
export function jsonLog(write: (line: string) => void, level: LogLevel | 'silent'): Log {
  return pino({ level, base: null, redact: SECRETS, timestamp: pino.stdTimeFunctions.isoTime, formatters: NAMED_LEVELS }, { write })
}

/** The log of a process whose output this one keeps; null where it cannot be written: whoever has more to write there tells of it. */
export function outputLog(path: string, environment: NodeJS.ProcessEnv = process.env): RotatingFile | null {
  try {
    return new RotatingFile(path, logSettings(environment).rotation)
  } catch {
    return null
  }
}

function opened(path: string, rotation: RotationLimits): RotatingFile {
  try {
    return new RotatingFile(path, rotation)
  } catch (cause) {
    throw new UserError(
      {
        code: 'RUN_DIR_UNWRITABLE',
        what: "the run's log cannot be written",
        why: `${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
        fix: 'set output.output_dir to a folder that you may write to, on a disk with room',
      },
      { cause },
    )
  }
}

/** A log that hands on one plain line per entry: `warn: client lost id=client-2 round=3`. Quiet below `warn` unless the environment says otherwise. */
export function lineLog(writeLine: (line: string) => void, environment: NodeJS.ProcessEnv = process.env): Log {
  const options = {
    level: logSettings(environment).level ?? 'warn',
    base: null,
    redact: SECRETS,
    timestamp: false,
    formatters: NAMED_LEVELS,
  }
  return pino(options, { write: (entry: string) => writeLine(plainLine(entry)) })
}

function plainLine(entry: string): string {
  const { level, msg, ...fields } = JSON.parse(entry) as Readonly<Record<string, unknown>>
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return [`${String(level)}: ${String(msg)}`, ...shown].join(' ')
}
