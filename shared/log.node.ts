/**
 * @file Logs to a file (JSON lines, for programs) or to a stream of lines such as stderr (plain, for people).
 *
 * `CUTLAYER_LOG` sets the level: debug, info, warn, error or silent.
 */
import { pino } from 'pino'
import { UserError } from './errors.js'
import type { Log, LogLevel } from './log.js'

/** Fields of these names never reach a log, at the top or one level down. */
const SECRETS = ['token', 'authorization'].flatMap((name) => [name, `*.${name}`])
const LEVELS: readonly string[] = ['debug', 'info', 'warn', 'error', 'silent']

/** The level that the environment asks for. @throws UserError BAD_ARGUMENT if it names none. */
function logLevel(environment: NodeJS.ProcessEnv, otherwise: LogLevel): LogLevel | 'silent' {
  const level = environment.CUTLAYER_LOG ?? ''
  if (level === '') return otherwise
  if (isLevel(level)) return level
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: 'the log level is not known',
    why: `the environment variable CUTLAYER_LOG says "${level}"`,
    fix: `set it to one of ${LEVELS.join(', ')}, or unset it`,
  })
}

function isLevel(level: string): level is LogLevel | 'silent' {
  return LEVELS.includes(level)
}

export interface FileLog extends Log {
  /** Frees the file; nothing may be logged after it. */
  close(): void
}

/** A log that appends JSON lines to a file, whose folder is made if need be; each line is on disk when the call returns. @throws UserError RUN_DIR_UNWRITABLE */
export function fileLog(path: string, environment: NodeJS.ProcessEnv = process.env): FileLog {
  const options = { level: logLevel(environment, 'info'), base: null, redact: SECRETS, timestamp: pino.stdTimeFunctions.isoTime }
  const formatters = { level: (label: string) => ({ level: label }) }
  const file = opened(path)
  return Object.assign(pino({ ...options, formatters }, file), { close: () => file.end() })
}

function opened(path: string): ReturnType<typeof pino.destination> {
  try {
    const file = pino.destination({ dest: path, sync: true, mkdir: true, append: true })
    // What is logged is also told elsewhere; a disk that is full is noticed there.
    return file.on('error', () => {})
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
  const formatters = { level: (label: string) => ({ level: label }) }
  const options = { level: logLevel(environment, 'warn'), base: null, redact: SECRETS, timestamp: false, formatters }
  return pino(options, { write: (entry: string) => writeLine(plainLine(entry)) })
}

function plainLine(entry: string): string {
  const { level, msg, ...fields } = JSON.parse(entry) as Readonly<Record<string, unknown>>
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return [`${String(level)}: ${String(msg)}`, ...shown].join(' ')
}
