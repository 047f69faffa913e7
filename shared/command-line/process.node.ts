/**
 * @file Runs the process's command line, and ends the process.
 */
import { closeBeforeExit } from '../exit.node.js'
import { packageVersion } from '../version.node.js'
import { type Frame, reportBug, runCommandLine } from './frame.node.js'
import type { Streams } from './terminal.node.js'

/** A worker may be in the middle of a large matrix product; what takes longer hangs. */
const CLOSE_LIMIT_MS = 10_000

export function runProcess(frame: Omit<Frame, 'version'>): void {
  const streams: Streams = { stdout: process.stdout, stderr: process.stderr, environment: process.env }
  const args = process.argv.slice(2)
  // Whoever reads our output may stop early (`cutlayer inspect | head`): that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  let isEnding = false
  const end = (status: number): void => {
    if (isEnding) return
    isEnding = true
    // The ending was told: a Ctrl-C from now on can make it sooner, but not another one.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(status))
    void endProcess(status)
  }
  for (const origin of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(origin, (error: unknown) => {
      // While the process ends, what was cut short may complain: the ending that was reported stands.
      if (!isEnding) end(reportBug(args, streams, error))
    })
  }
  void runCommandLine({ ...frame, version: packageVersion() }, args, streams, end).then(end)
}

/** Ends the process even if a socket was left open, but not before what was written has gone out and native code has come to rest. */
async function endProcess(status: number): Promise<void> {
  await closeBeforeExit(CLOSE_LIMIT_MS)
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)))
}
