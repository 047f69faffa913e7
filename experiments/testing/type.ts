/**
 * @file Types a command line into the program, in this process, and listens.
 */
import type { CommandDefinition } from '../../shared/command-line/index.node.js'
import { runCommandLine } from '../../shared/command-line/frame.node.js'

export interface Typed {
  /** What the process would exit with. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** As a terminal that is none: plain lines, no colours. */
export async function typeCommand(commands: readonly CommandDefinition[], ...args: string[]): Promise<Typed> {
  const written = { stdout: '', stderr: '' }
  const streams = {
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    environment: {},
  }
  const status = await runCommandLine({ version: '0', summary: '', commands }, args, streams, () => undefined)
  return { status, ...written }
}

export interface Envelope<Data> {
  readonly schema_version: number
  readonly status: 'ok' | 'error'
  readonly exit_code: number
  readonly data: Data
  readonly error?: { readonly code: string; readonly what: string; readonly why: string; readonly fix: string }
}

/** The envelope that a script gets. @param Data what the caller knows `data` to be */
export async function typeForScript<Data>(commands: readonly CommandDefinition[], ...args: string[]): Promise<Envelope<Data>> {
  const { stdout } = await typeCommand(commands, ...args, '--format', 'json')
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Envelope<Data>
}
