/**
 * @file Runs the process's command line, and ends the process.
 */
import { packageVersion } from '../version.node.js'
import { type Frame, reportBug, runCommandLine } from './frame.node.js'
import type { Streams } from './terminal.node.js'

export function runProcess(frame: Omit<Frame, 'version'>): void {
  const streams: Streams = { stdout: process.stdout, stderr: process.stderr, environment: process.env }
  const args = process.argv.slice(2)
  // Whoever reads our output may stop early (`cutlayer inspect | head`): that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  for (const origin of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(origin, (error: unknown) => endAfterOutput(reportBug(args, streams, error)))
  }
  void runCommandLine({ ...frame, version: packageVersion() }, args, streams, (status) => process.exit(status)).then(endAfterOutput)
}

/** Ends the process even if a worker or a socket was left open, but not before what was written has gone out. */
function endAfterOutput(status: number): void {
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)))
}
