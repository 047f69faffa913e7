/**
 * @file What to type to go on with a run that ended before its time.
 */
import { relative } from 'node:path'
import type { HostedRun } from '../host.js'

export interface ResumeHint {
  readonly command: string
  /** The round behind which it goes on; 0: none is through, and it starts at its beginning. */
  readonly round: number
}

/** @param flags as they were typed, such as `--port 7701`; @returns null if there is nothing left to do. */
export function resumeHint(
  { directory, checkpoints }: Pick<HostedRun, 'directory' | 'checkpoints'>,
  rounds: number,
  verb: 'run' | 'server',
  flags: readonly string[] = [],
): ResumeHint | null {
  const round = checkpoints.last ?? 0
  if (round >= rounds) return null
  return { command: resumeCommand(directory.folder, verb, flags), round }
}

/** @param folder of the run, absolute */
export function resumeCommand(folder: string, verb: 'run' | 'server', flags: readonly string[] = []): string {
  return ['npx cutlayer', verb, '--resume', inShell(relative(process.cwd(), folder) || folder), ...flags].join(' ')
}

/** @param rounds of the whole run */
export function resumeText({ command, round }: ResumeHint, rounds: number): string {
  const from = round === 0 ? 'from its beginning: no round was through' : `behind round ${round} of ${rounds}`
  return `resume    ${command}\n          goes on ${from}; what was made of round ${round + 1} is made again`
}

function inShell(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : JSON.stringify(text)
}
