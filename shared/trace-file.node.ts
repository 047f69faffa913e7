/**
 * @file A trace as a file of Chrome's format: events as they come, one a line, and at the end how busy the engine was.
 *
 * The file is valid JSON at every moment: each piece is written with the file's end behind it, and the next overwrites that end. What has
 * not been written yet is bounded, and so are seconds of it.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { busyShare, type BusyTally } from './busy-share.js'
import { UserError } from './errors.js'
import { TraceEvents } from './trace-events.js'
import type { Trace } from './trace.js'

const HEAD = '{"displayTimeUnit":"ms","traceEvents":[\n'
const FLUSH_CHARACTERS = 65536
const FLUSH_MS = 1000

/** What a trace says of the whole run. */
export interface TraceSummary {
  readonly file: string
  /** Of all cores' time between the first training step and the last, 0 to 1; null if there were none, or the system does not tell. */
  readonly engine_busy_share: number | null
  /** Why there is no more of it: the disk was full, say. */
  readonly cut_off?: string
}

export interface TraceFile {
  readonly trace: Trace
  /** @returns the file for another process of this run to write its own trace to; `finish` takes it over, if it is there, and removes it. */
  partFor(processName: string): string
  /** Takes over the parts, writes what is left, and closes. Again: the same summary. */
  finish(): TraceSummary
  /** Closes, and removes it: nothing came of what was to be traced. */
  discard(): void
}

/**
 * Opens a trace. An older trace of that name is overwritten, any other file is not.
 * @param processName as the picture calls this process.
 * @throws UserError OUTPUT_UNWRITABLE
 */
export function openTraceFile(path: string, processName: string): TraceFile {
  const file = new GrowingFile(path)
  const events = new TraceEvents((json) => file.add(json), process.pid, processName)
  const cores = availableParallelism()
  const others: BusyTally[] = []
  const parts: string[] = []
  const share = (): number | null => busyShare([events.tally, ...others], cores)
  // Tallies, so that whoever takes this over can count on.
  file.end = () => `\n],"otherData":${JSON.stringify({ engine_busy_share: share(), cores, tallies: [events.tally, ...others] })}}\n`
  const timer = setInterval(() => file.flush(), FLUSH_MS).unref()
  let summary: TraceSummary | null = null
  const finish = (): TraceSummary => {
    if (summary) return summary
    clearInterval(timer)
    process.off('exit', finish)
    for (const part of parts) {
      others.push(...readTrace(part, (json) => file.add(json)))
      rmSync(part, { force: true })
    }
    file.close()
    return (summary = { file: path, engine_busy_share: share(), ...(file.failure === null ? {} : { cut_off: file.failure }) })
  }
  // Also when Ctrl-C is pressed twice.
  process.on('exit', finish)
  file.flush()
  return {
    trace: events,
    partFor(name) {
      const part = `${path}.${name}`
      parts.push(part)
      return part
    },
    finish,
    discard() {
      finish()
      rmSync(path, { force: true })
    },
  }
}

/** JSON whose list is written piece by piece. */
class GrowingFile {
  /** What comes after the list. */
  end: () => string = () => '\n]}\n'
  failure: string | null = null
  private readonly descriptor: number
  private waiting: string[] = [HEAD]
  private waitingCharacters = 0
  private isFirst = true
  private isOpen = true
  /** Where the list ends, and the file. */
  private listBytes = 0
  private fileBytes = 0

  /** @throws UserError OUTPUT_UNWRITABLE */
  constructor(path: string) {
    this.descriptor = openForTrace(path)
  }

  /** What comes behind the end, as of an engine that is just closing, is left out. */
  add(json: string): void {
    if (this.failure !== null || !this.isOpen) return
    const text = this.isFirst ? json : `,\n${json}`
    this.isFirst = false
    this.waiting.push(text)
    this.waitingCharacters += text.length
    if (this.waitingCharacters >= FLUSH_CHARACTERS) this.flush()
  }

  flush(): void {
    if (this.waiting.length === 0 || this.failure !== null) return
    const list = this.waiting.join('')
    this.waiting = []
    this.waitingCharacters = 0
    this.write(list)
  }

  close(): void {
    this.flush()
    if (this.failure === null) this.write('')
    this.isOpen = false
    closeSync(this.descriptor)
  }

  private write(list: string): void {
    const bytes = Buffer.from(list + this.end())
    const listEnd = this.listBytes + Buffer.byteLength(list)
    const fileEnd = this.listBytes + bytes.length
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(this.descriptor, bytes, done, bytes.length - done, this.listBytes + done)
      if (fileEnd < this.fileBytes) ftruncateSync(this.descriptor, fileEnd)
      this.listBytes = listEnd
      this.fileBytes = fileEnd
    } catch (error) {
      this.failure = error instanceof Error ? error.message : String(error)
      this.repair()
    }
  }

  /** The old end in its old place, where there was room for it: what was written then stays readable. */
  private repair(): void {
    const end = Buffer.from(this.end())
    try {
      ftruncateSync(this.descriptor, this.listBytes)
      writeSync(this.descriptor, end, 0, end.length, this.listBytes)
    } catch {
      // The failure is told.
    }
  }
}

function openForTrace(path: string): number {
  try {
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats && !stats.isFile()) throw unwritable(path, 'it is there already, and is not a file')
    if (stats && stats.size > 0 && !isTrace(path)) throw unwritable(path, 'it is there already, and is no trace of cutlayer')
    return openSync(path, 'w')
  } catch (cause) {
    if (cause instanceof UserError) throw cause
    throw unwritable(path, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function isTrace(path: string): boolean {
  const descriptor = openSync(path, 'r')
  try {
    const head = Buffer.alloc(HEAD.length)
    readSync(descriptor, head)
    return head.toString('latin1') === HEAD
  } finally {
    closeSync(descriptor)
  }
}

const PIECE_BYTES = 2 ** 20

/**
 * Reads a trace that a process of this program wrote, a piece at a time.
 * @param event gets each event as JSON.
 * @returns the tallies at its end; none if there is no such file.
 */
function readTrace(path: string, event: (json: string) => void): BusyTally[] {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch {
    return []
  }
  let tallies: BusyTally[] = []
  const take = (line: string): void => {
    const json = line.endsWith(',') ? line.slice(0, -1) : line
    // A process that was killed as it wrote may have cut one.
    if (json.startsWith('{"ph"') && json.endsWith('}')) event(json)
    else if (line.startsWith('],')) tallies = talliesOf(line)
  }
  try {
    const piece = Buffer.alloc(PIECE_BYTES)
    let rest = Buffer.alloc(0)
    for (let length = readSync(descriptor, piece); length > 0; length = readSync(descriptor, piece)) {
      const bytes = Buffer.concat([rest, piece.subarray(0, length)])
      const end = bytes.lastIndexOf(0x0a) + 1
      for (const line of bytes.toString('utf8', 0, end).split('\n')) take(line)
      rest = bytes.subarray(end)
    }
  } finally {
    closeSync(descriptor)
  }
  return tallies
}

function talliesOf(end: string): BusyTally[] {
  try {
    const { otherData } = JSON.parse(`{${end.slice(2)}`) as { otherData: { tallies: BusyTally[] } }
    return otherData.tallies
  } catch {
    return [] // cut by the end of its process
  }
}

function unwritable(path: string, why: string, cause?: unknown): UserError {
  return new UserError(
    {
      code: 'OUTPUT_UNWRITABLE',
      what: 'the trace cannot be written',
      why: `${path}: ${why}`,
      fix: 'name another file with --trace, in a folder that you may write to',
    },
    { cause },
  )
}
