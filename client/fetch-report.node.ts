/**
 * @file Tells how far the fetching of the model is: a bar on a terminal, a line at the beginning and the end, JSON about once a second.
 */
import { byteSize, duration, type CommandContext, type Progress } from '../shared/command-line/index.node.js'
import type { TrainerEvent } from './trainer.js'

type FetchEvent = Extract<TrainerEvent, { kind: 'fetch' }>

/** Scripts hear of it so often at most. */
const INTERVAL_MS = 1000

/** Files that are fetched one after another. */
interface Batch {
  readonly bar: Progress
  /** Bytes of it that an earlier process had fetched. */
  readonly startBytes: number
  readonly startMs: number
  toldMs: number
}

export class FetchReport {
  private batch: Batch | null = null

  constructor(private readonly context: CommandContext) {}

  /** @param nowMs of a clock that does not go back */
  hear(event: FetchEvent, nowMs: number): void {
    const { file, doneBytes, totalBytes } = event
    const isFirst = this.batch === null
    const batch = (this.batch ??= this.begin(event, nowMs))
    const { bar, startBytes, startMs } = batch
    bar.update(Math.max(0, doneBytes - startBytes), file)
    const isLast = doneBytes >= totalBytes
    if (isFirst || isLast || nowMs - batch.toldMs >= INTERVAL_MS) {
      batch.toldMs = nowMs
      const seconds = (nowMs - startMs) / 1000
      const size = byteSize(totalBytes - startBytes)
      const before = startBytes > 0 ? `; ${byteSize(startBytes)} are here from before` : ''
      const line = isLast ? `fetched ${size} of the model (${duration(seconds)})` : `fetching ${size} of the model from the server${before}`
      // For a person a bar shows the rest, or nothing.
      if (isFirst || isLast || this.context.format === 'json') this.context.event(recordOf(event, startBytes, seconds), line)
    }
    if (isLast) this.end()
  }

  /** Takes the bar away, whatever happened. */
  end(): void {
    this.batch?.bar.finish()
    this.batch = null
  }

  private begin({ doneBytes, totalBytes }: FetchEvent, nowMs: number): Batch {
    const bar = this.context.progress('fetching the model', totalBytes - doneBytes, 'bytes')
    return { bar, startBytes: doneBytes, startMs: nowMs, toldMs: nowMs }
  }
}

function recordOf({ file, doneBytes, totalBytes }: FetchEvent, startBytes: number, seconds: number) {
  // A file that came wrong begins again, and less than nothing is no rate.
  const rate = seconds > 0 && doneBytes > startBytes ? (doneBytes - startBytes) / seconds : null
  return {
    event: 'fetch',
    file,
    done_bytes: doneBytes,
    total_bytes: totalBytes,
    bytes_per_s: rate,
    seconds_left: rate === null ? null : (totalBytes - doneBytes) / rate,
  }
}
