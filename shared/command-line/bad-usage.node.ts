/**
 * @file What commander complains of, as a UserError that names the nearest command or flag.
 */
import { type Command, type CommanderError } from 'commander'
import { closest } from 'fastest-levenshtein'
import { UserError } from '../errors.js'

/** @param args what was typed, to find the command that the complaint is about */
export function usageError(error: CommanderError, program: Command, args: readonly string[]): UserError {
  const command = commandOf(program, args)
  const name = fullName(command)
  const typed = /'([^']*)'/.exec(error.message)?.[1] ?? ''
  const help = `see ${name} --help`
  const fixes: Readonly<Record<string, string>> = {
    'commander.unknownOption': nearest(
      typed,
      [...command.options.map((option) => option.long ?? ''), '--help'].filter((flag) => flag !== ''),
      help,
    ),
    'commander.unknownCommand': nearest(
      typed,
      command.commands.map((child) => child.name()),
      help,
    ),
    'commander.help': `add one of ${command.commands.map((child) => child.name()).join(', ')}; ${help}`,
  }
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `${name} was called in a way that it does not know`,
    why: error.code === 'commander.help' ? 'a verb is missing after it' : error.message.replace(/^error: /, ''),
    fix: fixes[error.code] ?? help,
  })
}

function nearest(typed: string, known: readonly string[], help: string): string {
  return typed === '' || known.length === 0 ? help : `did you mean ${closest(typed, known)}? ${help}`
}

function commandOf(program: Command, args: readonly string[]): Command {
  let command = program
  for (const arg of args) {
    command = command.commands.find((candidate) => candidate.name() === arg) ?? command
  }
  return command
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`
}
