/**
 * @file Runs the process's command line, and ends the process.
 */
import { closeBeforeExit } from '../exit.node.js'
import { packageVersion } from '../version.node.js'
import { type Frame, reportBug, runCommandLine } from './frame.node.js'
import type { Streams } from './terminal.node.js'

/** A worker may be in the middle of a large matrix product; what takes longer hangs. */
const CLOSE_LIMIT_MS = 10_000
/** After SIGTERM or SIGHUP the process is gone within 10 s, whatever happens. */
const END_LIMIT_MS = 9500
const ENDING_SIGNALS = ['SIGTERM', 'SIGHUP'] as const

export function runProcess(frame: Omit<Frame, 'version'>): void {
  const streams: Streams = { stdout: process.stdout, stderr: process.stderr, environment: process.env }
  const args = process.argv.slice(2)
  // Whoever reads our output may stop early (`cutlayer inspect | head`): that is no error. A terminal that is gone sends SIGHUP, too.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => code === 'EIO' || process.exit(code === 'EPIPE' ? 0 : 1))
  process.stderr.on('error', () => {})
  let isEnding = false
  const end = (status: number): void => {
    if (isEnding) return
    isEnding = true
    // The ending was told: a signal from now on makes no other of it, and Ctrl-C a sooner one.
    process.on('SIGINT', () => process.exit(status))
    for (const signal of ENDING_SIGNALS) process.on(signal, () => {})
    void endProcess(status)
  }
  for (const origin of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(origin, (error: unknown) => {
      // While the process ends, what was cut short may complain: the ending that was reported stands.
      if (!isEnding) end(reportBug(args, streams, error))
    })
  }
  for (const signal of ENDING_SIGNALS) process.once(signal, () => setTimeout(endBySignal, END_LIMIT_MS).unref())
  void runCommandLine({ ...frame, version: packageVersion() }, args, streams, end).then(end)
}

/** Ends the process even if a socket was left open, but not before what was written has gone out and native code has come to rest. */
async function endProcess(status: number): Promise<void> {
  await closeBeforeExit(CLOSE_LIMIT_MS)
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)))
}

/**
 * Ends the process by the signal that asks for it: at once, where `process.exit` would wait for a worker that is inside native code.
 * What others do upon the exit (ending processes of ours, taking away secrets) is done first.
 */
function endBySignal(): void {
  process.emit('exit', 143)
  process.removeAllListeners('SIGTERM')
  process.kill(process.pid, 'SIGTERM')
  // The first process of a container cannot be ended so.
  process.exit(143)
}
