/**
 * @file What a command is. Each folder's command.ts exports `commands: readonly CommandDefinition[]`, and cli.ts registers them.
 *
 * To add a command, copy one of experiments/command.ts: `run` returns its data, and the frame (frame.node.ts) does the rest, the same for
 * every command: `--format json`, `--help` with the example, errors, exit status, progress, Ctrl-C.
 */
import { z } from 'zod'
import { valueAt } from '../config/paths.js'
import { UserError } from '../errors.js'
import type { Log } from '../log.js'

export interface CommandResult {
  /** What a script gets: `data` of the JSON envelope. */
  readonly data: unknown
  /** What a person gets on stdout. */
  readonly text: string
  /** What went wrong although there is a result; the process then ends with this error's status. */
  readonly error?: UserError
}

/** What a command may use of the world around it. */
export interface CommandContext {
  readonly format: 'text' | 'json'
  /** Aborts at the first Ctrl-C, SIGTERM or SIGHUP, if the command says that it is `graceful`. It should then finish its step, save, and return as usual. */
  readonly signal: AbortSignal
  /** Aborts some seconds after a SIGTERM or SIGHUP: it should now wait for nobody, but save what there is, and return. */
  readonly urgent: AbortSignal
  /** Goes to stderr; quiet below warnings unless `CUTLAYER_LOG` says otherwise. */
  readonly log: Log
  /** Tells what has happened: as a JSON line on stdout for scripts, else as a plain line on stderr. */
  event(record: EventRecord, text: string): void
  /** Text for a person on stdout, as it comes and without a line's end; nothing for scripts. */
  stream(text: string): void
  /** What the person should know but the command can live with. */
  warn(text: string): void
  /** A bar on a terminal, nothing elsewhere: plain lines come from `event`. Total 0: not known, so only words and the time. */
  progress(label: string, total: number, unit?: 'bytes'): Progress
  /** Lines that are drawn anew in place, while nothing else is; null where that cannot be (no terminal, or a script): tell by `event` there. */
  panel(): Panel | null
  /** Marks up text for a terminal that shows colours. */
  paint(style: 'bold' | 'dim' | 'red' | 'green' | 'yellow', text: string): string
}

export interface EventRecord {
  readonly event: string
  readonly [field: string]: unknown
}

export interface Progress {
  /** @param done of the total; @param details such as `loss 3.21` */
  update(done: number, details?: string): void
  finish(): void
}

/** Lines at the bottom of a terminal. */
export interface Panel {
  /** Draws lines for a terminal of so many columns in place of the last ones. Plain text; what does not fit is cut off. */
  show(draw: (columns: number) => readonly string[]): void
  finish(): void
}

export interface CommandDefinition {
  /** Verbs and operands as commander reads them: `run <config> [overrides...]`, `bench step`. */
  readonly usage: string
  readonly summary: string
  /** Lines to type. */
  readonly example: string
  /** Flags as commander reads them, with what they do: `'--round <n>': 'show this round only'`. */
  readonly flags: Readonly<Record<string, string>>
  /** Whether the first Ctrl-C aborts `context.signal` instead of ending the process. */
  readonly graceful: boolean
  readonly run: (context: CommandContext, operands: readonly string[], options: unknown) => Promise<CommandResult>
}

/**
 * A command whose flags are checked by a schema before it runs.
 *
 * @param spec.options schema of the flags by camel-case name (`--token-file` is `tokenFile`), each value as typed: text, true, or absent
 * @param spec.run gets the operands in order, without those that were left out
 */
export function defineCommand<Options extends z.ZodType>(spec: {
  readonly usage: string
  readonly summary: string
  readonly example: string
  readonly flags?: Readonly<Record<string, string>>
  readonly options: Options
  readonly graceful?: boolean
  readonly run: (context: CommandContext, operands: readonly string[], options: z.infer<Options>) => Promise<CommandResult>
}): CommandDefinition {
  return {
    ...spec,
    flags: spec.flags ?? {},
    graceful: spec.graceful ?? false,
    run: (context, operands, options) => spec.run(context, operands, parseOptions(spec.options, options)),
  }
}

function parseOptions<Options extends z.ZodType>(schema: Options, options: unknown): z.infer<Options> {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const name = String(issue.path[0] ?? '')
  const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  const value = valueAt(options, name)
  if (value === undefined)
    throw new UserError({ code: 'BAD_ARGUMENT', what: `${flag} is missing`, why: `${issue.message} is expected`, fix: `add ${flag}` })
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `${flag} has a wrong value`,
    why: `it says ${JSON.stringify(value)}, and ${issue.message} is expected`,
    fix: `correct ${flag}, or leave it out`,
  })
}

/** A flag that takes a whole number. */
export function integerFlag(min: number, max: number = Number.MAX_SAFE_INTEGER) {
  const expected = max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`
  return z
    .string(expected)
    .regex(/^-?\d{1,16}$/, expected)
    .transform(Number)
    .refine((value) => value >= min && value <= max, expected)
}

/** A flag that takes a number. */
export function numberFlag(min: number, max: number) {
  const expected = `a number from ${min} to ${max}`
  return z
    .string(expected)
    .regex(/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i, expected)
    .transform(Number)
    .refine((value) => value >= min && value <= max, expected)
}

/** A flag that takes one of a few words. */
export function wordFlag<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, words.join(' or '))
}
