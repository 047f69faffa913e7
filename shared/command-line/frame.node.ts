/**
 * @file Runs the command that a command line asks for, and ends the same way for all of them.
 *
 * Every ending is an exit code: 0, the three digits of a UserError, 130 after Ctrl-C, SIGTERM and SIGHUP, 100 for a bug. The process exits with its first digit
 * (130 stays). With `--format json` the last line on stdout is the envelope of terminal.node.ts, however it ended.
 */
import { Command, CommanderError, Option } from 'commander'
import { UserError } from '../errors.js'
import { lineLog } from '../log.node.js'
import type { LogLevel } from '../log.js'
import { logSettings } from '../log-settings.node.js'
import { usageError } from './bad-usage.node.js'
import type { CommandContext, CommandDefinition } from './command.node.js'
import { ENDING_LIMITS, listenForInterrupt, type EndingSignal } from './interrupt.node.js'
import { exitCodeOf, exitStatusOf, type Failure, type Streams, Terminal } from './terminal.node.js'

const INTERRUPTED: Failure = {
  code: 'INTERRUPTED',
  what: 'stopped before the end',
  why: 'Ctrl-C was pressed, the process was told to end, or its terminal was closed',
  fix: 'start it again when you like',
}

/** What operands mean: the same in all commands. */
const MEANINGS: Readonly<Record<string, string>> = {
  config: 'a YAML or JSON file; see cutlayer schema for its keys',
  overrides: 'keys of the config to set, such as train.learning_rate=0.001',
  run: "a run's folder, name or id",
  runs: 'folders, names or ids of runs',
  folder: 'where to write',
  out: 'where to write',
}

export interface Frame {
  readonly version: string
  readonly summary: string
  readonly commands: readonly CommandDefinition[]
}

/**
 * @param args what was typed after the program's name
 * @param endNow ends the process at once with a status: after a second Ctrl-C
 * @returns the status to exit with; never throws
 */
export async function runCommandLine(
  frame: Frame,
  args: readonly string[],
  streams: Streams,
  endNow: (status: number) => void,
): Promise<number> {
  const terminal = terminalFor(args, streams)
  let status = 0
  let help = ''
  const program = configure(new Command('cutlayer'), (text) => (help += text))
    .description(frame.summary)
    .version(frame.version)
    .addOption(formatOption())
  const parents = new Map<string, Command>([['', program]])
  for (const definition of frame.commands) {
    addCommand(parents, definition, async (operands, options) => {
      status = await runOne(definition, operands, options, terminal, streams.environment, endNow)
    })
  }
  try {
    await program.parseAsync(args.length === 0 ? ['--help'] : [...args], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) terminal.result(terminal.format === 'json' ? { text: help } : null, help)
    else status = fail(terminal, error instanceof CommanderError ? usageError(error, program, args) : error)
  }
  return status
}

/** Says that an exception came past everything that should have caught it. @returns the exit status */
export function reportBug(args: readonly string[], streams: Streams, error: unknown): number {
  return fail(terminalFor(args, streams), error)
}

function terminalFor(args: readonly string[], streams: Streams): Terminal {
  return new Terminal(streams, asksForJson(args) ? 'json' : 'text', jsonLevel(streams.environment))
}

/** null: lines on stderr are for people. What is wrong in the environment is told when the command begins. */
function jsonLevel(environment: NodeJS.ProcessEnv): LogLevel | 'silent' | null {
  try {
    const { format, level } = logSettings(environment)
    return format === 'json' ? (level ?? 'info') : null
  } catch {
    return null
  }
}

/** Before the flags are parsed, because parsing them may be what fails. */
function asksForJson(args: readonly string[]): boolean {
  const typed = args.includes('--') ? args.slice(0, args.indexOf('--')) : args
  return typed.some((arg, index) => arg === '--format=json' || (arg === '--format' && typed[index + 1] === 'json'))
}

function addCommand(
  parents: Map<string, Command>,
  definition: CommandDefinition,
  action: (operands: readonly string[], options: Readonly<Record<string, unknown>>) => Promise<void>,
): void {
  const words = definition.usage.split(' ')
  const firstOperand = words.findIndex((word) => /^[<[]/.test(word))
  const verbs = firstOperand < 0 ? words : words.slice(0, firstOperand)
  const command = verbs.reduce((parent, verb, depth) => {
    const path = verbs.slice(0, depth + 1).join(' ')
    const known = parents.get(path)
    if (known !== undefined) return known
    const child = parent.command(verb) // takes over how its parent writes and exits
    parents.set(path, child)
    if (depth < verbs.length - 1)
      child
        .summary(`commands of their own; see cutlayer ${path} --help`)
        .description(`The commands of ${path}.`)
        .addHelpText('after', exampleText(definition))
    return child.addOption(formatOption())
  }, parents.get('')!)
  command.description(definition.summary)
  for (const operand of words.slice(verbs.length)) command.argument(operand, MEANINGS[operand.replaceAll(/[^a-z-]/g, '')] ?? '')
  for (const [flags, description] of Object.entries(definition.flags)) command.option(flags, description)
  command.addHelpText('after', exampleText(definition))
  command.action(async () => {
    const { format: _, ...options } = command.opts()
    await action(command.args, options)
  })
}

function exampleText({ example }: CommandDefinition): string {
  return `\nExample:\n${example.replaceAll(/^/gm, '  ')}\n`
}

function formatOption(): Option {
  return new Option('--format <format>', 'json: one JSON line at the end, for scripts').choices(['text', 'json'])
}

/** Makes a command throw instead of exiting, keep its complaints to itself, and hand over its help text. */
function configure(command: Command, write: (text: string) => void): Command {
  return command
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureHelp({ subcommandTerm, minWidthToWrap: 20 })
    .configureOutput({ writeOut: write, writeErr: () => undefined })
}

/** A subcommand as a list of them names it. Without "[options]", so that at 80 columns there is room to say what it does. */
function subcommandTerm(command: Command): string {
  const operands = command.registeredArguments.map((operand) => {
    const name = operand.variadic ? `${operand.name()}...` : operand.name()
    return operand.required ? `<${name}>` : `[${name}]`
  })
  return [command.name(), ...operands].join(' ')
}

async function runOne(
  definition: CommandDefinition,
  operands: readonly string[],
  options: unknown,
  terminal: Terminal,
  environment: NodeJS.ProcessEnv,
  endNow: (status: number) => void,
): Promise<number> {
  const interrupt = listenForInterrupt(
    definition.graceful,
    (by) => terminal.event({ event: 'stopping', by: by ?? 'SIGINT' }, stoppingText(by)),
    () => {
      terminal.failure(INTERRUPTED, null)
      endNow(130)
    },
  )
  try {
    const context: CommandContext = {
      format: terminal.format,
      signal: interrupt.signal,
      urgent: interrupt.urgent,
      log: terminal.log ?? lineLog((line) => terminal.line(line), environment),
      event: (record, text) => terminal.event(record, text),
      stream: (text) => terminal.stream(text),
      warn: (text) => terminal.event({ event: 'warning', message: text }, `warning: ${text}`),
      progress: (label, total, unit) => terminal.progress(label, total, unit),
      panel: () => terminal.panel(),
      paint: (style, text) => terminal.paint(style, text),
    }
    const { data, text, error } = await definition.run(context, operands, options)
    if (!interrupt.signal.aborted && error === undefined) {
      terminal.result(data, text)
      return 0
    }
    const failure = interrupt.signal.aborted ? INTERRUPTED : error!.report()
    if (terminal.format === 'text') terminal.text(text)
    terminal.failure(failure, data)
    return exitStatusOf(exitCodeOf(failure))
  } catch (error) {
    if (!interrupt.signal.aborted || error !== interrupt.signal.reason) return fail(terminal, error)
    terminal.failure(INTERRUPTED, null)
    return exitStatusOf(exitCodeOf(INTERRUPTED))
  } finally {
    interrupt.release()
  }
}

function stoppingText(by: EndingSignal | null): string {
  if (by === null) return 'finishing the step; Ctrl-C again stops at once'
  return `${by}: finishing the step, if it ends within ${ENDING_LIMITS.urgentMs / 1000} s`
}

/** Says what went wrong. @returns the exit status */
function fail(terminal: Terminal, error: unknown): number {
  if (error instanceof UserError) {
    terminal.failure(error.report(), null)
    return exitStatusOf(error.exitCode)
  }
  const bug: Failure = {
    code: 'BUG',
    what: 'cutlayer stopped because of a mistake in it',
    why: error instanceof Error ? error.message : String(error),
    fix: 'please report it with the command line and the stack on stderr',
  }
  terminal.failure(bug, null, error instanceof Error ? (error.stack ?? '') : String(error))
  return exitStatusOf(exitCodeOf(bug))
}
