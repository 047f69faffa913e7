/**
 * @file Where a command's words go: results and JSON lines to stdout, progress, logs and errors to stderr.
 */
import { ERROR_CODES, type ErrorReport } from '../errors.js'
import { jsonLog } from '../log.node.js'
import type { Log, LogLevel } from '../log.js'
import type { EventRecord, Panel, Progress } from './command.node.js'
import { progressLine } from './progress.js'

export const ENVELOPE_VERSION = 1
const CLEAR_LINE = '\r\u001b[2K'
const CLEAR_LINE_ABOVE = '\u001b[1A\u001b[2K'
const REDRAW_MS = 100
/** How often the time on a bar moves on by itself. */
const TICK_MS = 1000
/** SGR codes that start and end a style. */
const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const

/** As much of a stream as is used here, so that a test can listen. */
export interface OutputStream {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

export interface Streams {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly environment: NodeJS.ProcessEnv
}

/** Not a `UserError`: an interruption and a bug have no code in its table. */
export type Failure =
  ErrorReport | { readonly code: 'INTERRUPTED' | 'BUG'; readonly what: string; readonly why: string; readonly fix: string }

/** Three-digit code of the envelope: 130 interrupted, 100 a bug, else that of the table. */
export function exitCodeOf(failure: Failure): number {
  if (failure.code === 'INTERRUPTED') return 130
  if (failure.code === 'BUG') return 100
  return ERROR_CODES[failure.code]
}

/** What the process exits with: 8 bits are too few for three digits, so it is the first; 130 stays, as shells know it. */
export function exitStatusOf(exitCode: number): number {
  return exitCode === 130 ? 130 : Math.floor(exitCode / 100)
}

export class Terminal {
  /** What stands at the bottom and is drawn anew: a progress bar, or the lines of a panel. */
  private bar = ''
  /** Whether the ending was told. What a command that was stopped still says is dropped: the envelope is the last line. */
  private isOver = false
  /** Takes what else would be lines on stderr, as JSON; null: those are for people. */
  readonly log: Log | null

  /** @param jsonLevel what of the lines on stderr is told, as JSON; null: they are for people */
  constructor(
    private readonly streams: Streams,
    readonly format: 'text' | 'json',
    jsonLevel: LogLevel | 'silent' | null = null,
  ) {
    this.log = jsonLevel && jsonLog((line) => this.isOver || streams.stderr.write(line), jsonLevel)
  }

  event(record: EventRecord, text: string): void {
    if (this.isOver) return
    if (this.format === 'json') this.streams.stdout.write(`${JSON.stringify(record)}\n`)
    else if (this.log) this.log[record.event === 'warning' ? 'warn' : 'info'](record, text)
    else this.line(text)
  }

  /** A line on stderr, above the progress bar if one is drawn. */
  line(text: string): void {
    if (this.isOver) return
    this.streams.stderr.write(this.bar === '' ? `${text}\n` : `${this.clearing()}${text}\n${this.bar}`)
  }

  /** Takes away what is drawn. A terminal that was made narrower meanwhile has broken its lines. */
  private clearing(): string {
    const columns = this.streams.stderr.columns ?? 80
    const rows = this.bar.split('\n').reduce((sum, { length }) => sum + Math.max(1, Math.ceil(length / columns)), 0)
    return CLEAR_LINE + CLEAR_LINE_ABOVE.repeat(rows - 1)
  }

  /** @param stream where the text will go */
  paint(style: keyof typeof STYLES, text: string, stream = this.streams.stdout): string {
    const { environment } = this.streams
    if (stream.isTTY !== true || environment.NO_COLOR || this.format === 'json') return text
    const [start, end] = STYLES[style]
    return `\u001b[${start}m${text}\u001b[${end}m`
  }

  progress(label: string, total: number, unit?: 'bytes'): Progress {
    const { stderr } = this.streams
    if (stderr.isTTY !== true || this.log) return { update: () => undefined, finish: () => undefined }
    const start = performance.now()
    let state = { done: 0, details: '' }
    let drawn = -Infinity
    let tick: NodeJS.Timeout | undefined
    const draw = (): void => {
      clearTimeout(tick)
      if (this.isOver) return
      drawn = performance.now()
      this.bar = progressLine({ label, total, unit, ...state, elapsedSeconds: (drawn - start) / 1000, columns: stderr.columns ?? 80 })
      stderr.write(`${CLEAR_LINE}${this.bar}`)
      tick = setTimeout(draw, TICK_MS).unref()
    }
    return {
      update: (done, details = '') => {
        state = { done, details }
        const wait = drawn + REDRAW_MS - performance.now()
        if (wait <= 0 || (total > 0 && done >= total)) return draw()
        clearTimeout(tick)
        tick = setTimeout(draw, wait).unref()
      },
      finish: () => {
        clearTimeout(tick)
        this.clearBar()
      },
    }
  }

  panel(): Panel | null {
    const { stderr } = this.streams
    if (stderr.isTTY !== true || this.format === 'json' || this.log) return null
    return {
      show: (draw) => {
        if (this.isOver) return
        const clear = this.clearing()
        // The last column and the last row would scroll on some terminals, and what has scrolled away cannot be drawn anew.
        const [columns, rows] = [Math.max(1, (stderr.columns ?? 80) - 1), Math.max(1, (stderr.rows ?? 24) - 1)]
        const shown = draw(columns)
          .slice(0, rows)
          .map((line) => line.slice(0, columns))
        this.bar = shown.join('\n')
        stderr.write(clear + this.bar)
      },
      finish: () => this.clearBar(),
    }
  }

  private clearBar(): void {
    if (this.bar !== '') this.streams.stderr.write(this.clearing())
    this.bar = ''
  }

  /** The result, as the last line (JSON) or lines (text) on stdout. */
  result(data: unknown, text: string): void {
    if (this.isOver) return
    this.clearBar()
    if (this.format === 'json') this.envelope({ status: 'ok', exit_code: 0, data })
    else this.text(text)
    this.isOver = true
  }

  /** A piece of text on stdout, for a person. */
  stream(text: string): void {
    if (this.format === 'text' && !this.isOver) this.streams.stdout.write(text)
  }

  /** Text on stdout, for a person. */
  text(text: string): void {
    if (text !== '' && !this.isOver) this.streams.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
  }

  /** @param data what there is of a result all the same, null if nothing; @param stack of a bug, for whoever mends it */
  failure(failure: Failure, data: unknown, stack?: string): void {
    if (this.isOver) return
    this.clearBar()
    const { code, what, why, fix } = failure
    // Said at every level: it is all that is left of the command.
    const log = this.log && jsonLog((line) => this.streams.stderr.write(line), 'error')
    if (stack !== undefined && log) log.error({ code, stack }, what)
    else if (stack !== undefined) this.line(stack)
    if (this.format === 'json') this.envelope({ status: 'error', exit_code: exitCodeOf(failure), data, error: { code, what, why, fix } })
    else if (log) log.error({ code, exit_code: exitCodeOf(failure), why, fix }, what)
    else
      this.line(
        `${this.paint('red', 'error:', this.streams.stderr)} ${code} (${exitCodeOf(failure)})\nwhat:  ${what}\nwhy:   ${why}\nfix:   ${fix}`,
      )
    this.isOver = true
  }

  private envelope(body: Readonly<Record<string, unknown>>): void {
    this.streams.stdout.write(`${JSON.stringify({ schema_version: ENVELOPE_VERSION, ...body })}\n`)
  }
}
