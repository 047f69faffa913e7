/**
 * @file Runs one of this folder's programs: a person's mistake is told in words, and ends the process with its code's first digit.
 */
import { UserError } from '../../shared/errors.js'

export async function runProgram(main: (args: readonly string[]) => Promise<void>): Promise<void> {
  try {
    await main(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    process.stderr.write(`error: ${error.code}\nwhat:  ${error.what}\nwhy:   ${error.why}\nfix:   ${error.fix}\n`)
    process.exitCode = Math.floor(error.exitCode / 100)
  }
}

export function badUsage(why: string, usage: string): UserError {
  return new UserError({ code: 'BAD_ARGUMENT', what: 'the command line cannot be used', why, fix: `give it as: ${usage}` })
}

/** Prints one JSON line on stdout. */
export function printLine(record: object): void {
  process.stdout.write(`${JSON.stringify(record)}\n`)
}
