/**
 * @file What the environment says of logs: `CUTLAYER_LOG` (level), `CUTLAYER_LOG_MAX_BYTES` and `CUTLAYER_LOG_FILES` (how much of a log is
 * kept), `CUTLAYER_LOG_FORMAT` (of what goes to stderr).
 */
import { UserError } from './errors.js'
import type { LogLevel } from './log.js'
import type { RotationLimits } from './rotating-file.node.js'

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const satisfies readonly (LogLevel | 'silent')[]
const FORMATS = ['text', 'json'] as const
/** Less would be renamed more often than read. */
const LEAST_BYTES = 4096
const MOST_FILES = 1000

export type LogFormat = (typeof FORMATS)[number]

export interface LogSettings {
  /** null: whatever the log's own default is. */
  readonly level: LogLevel | 'silent' | null
  /** Of a log in a file. */
  readonly rotation: RotationLimits
  /** Of lines on stderr. */
  readonly format: LogFormat
}

/** Five files of 10 MB: a run of weeks keeps the last days, and never fills the disk. */
export const DEFAULT_ROTATION: RotationLimits = { maxBytes: 10_000_000, files: 5 }

/** @throws UserError BAD_ARGUMENT that names the variable, if one says what cannot be. */
export function logSettings(environment: NodeJS.ProcessEnv): LogSettings {
  return {
    level: word(environment, 'CUTLAYER_LOG', LEVELS),
    rotation: {
      maxBytes: wholeNumber(environment, 'CUTLAYER_LOG_MAX_BYTES', [LEAST_BYTES, Number.MAX_SAFE_INTEGER]) ?? DEFAULT_ROTATION.maxBytes,
      files: wholeNumber(environment, 'CUTLAYER_LOG_FILES', [1, MOST_FILES]) ?? DEFAULT_ROTATION.files,
    },
    format: word(environment, 'CUTLAYER_LOG_FORMAT', FORMATS) ?? 'text',
  }
}

function word<Word extends string>(environment: NodeJS.ProcessEnv, name: string, words: readonly Word[]): Word | null {
  const value = environment[name] ?? ''
  if (value === '') return null
  const known = words.find((candidate) => candidate === value)
  if (known === undefined) throw wrong(name, value, `one of ${words.join(', ')}`)
  return known
}

function wholeNumber(environment: NodeJS.ProcessEnv, name: string, [least, most]: readonly [number, number]): number | null {
  const value = environment[name] ?? ''
  if (value === '') return null
  const count = /^\d{1,16}$/.test(value) ? Number(value) : NaN
  if (count >= least && count <= most) return count
  throw wrong(
    name,
    value,
    most === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${least}` : `a whole number from ${least} to ${most}`,
  )
}

function wrong(name: string, value: string, expected: string): UserError {
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: 'the environment says something about logs that cannot be',
    why: `the variable ${name} says "${value}"`,
    fix: `set it to ${expected}, or unset it`,
  })
}
