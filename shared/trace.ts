/**
 * @file What a run did when, for whoever wants to see it: spans on tracks. What becomes of them is for `trace-events.ts` and
 * `trace-file.node.ts` to say; code that is traced knows only this.
 */

/** Facts of a span, shown when it is selected. */
export type TraceFacts = Readonly<Record<string, string | number | boolean | null>>

/** Ends a span; call it once. */
export type EndSpan = (facts?: TraceFacts) => void

/** When a program ran, microseconds since 1970, and what it took. */
export interface RunTimes {
  readonly startMicros: number
  readonly endMicros: number
  /** Processor time of all the engine's threads that computed it, which may exceed the time that passed; null where it cannot be had. */
  readonly processorMicros: number | null
}

export interface Trace {
  /** False: nobody listens, and what would cost anything to find out need not be. */
  readonly isOn: boolean
  /**
   * Something begins now.
   * @param track a line of the picture, such as `client-0`; spans of one track that overlap are drawn on lines of their own.
   */
  begin(track: string, name: string, facts?: TraceFacts): EndSpan
  /** A training step begins. Between the first and the last of a run, the share of time is taken in which the engine computes. */
  beginStep(track: string, name: string, facts?: TraceFacts): EndSpan
  /** A moment. */
  mark(track: string, name: string, facts?: TraceFacts): void
  /** A program of the engine ran, or was compiled, in this lane. */
  ran(lane: number, name: string, times: RunTimes, facts?: TraceFacts): void
}

const nothing: EndSpan = () => {}

/** Nobody listens. */
export const silentTrace: Trace = { isOn: false, begin: () => nothing, beginStep: () => nothing, mark() {}, ran() {} }

/** Now, in microseconds since 1970: one clock for all threads and processes of a machine, finer than Date's. */
export function epochMicros(): number {
  return (performance.timeOrigin + performance.now()) * 1000
}

/** Runs work as a span, whichever way it ends. */
export async function traced<Result>(trace: Trace, track: string, name: string, work: () => Promise<Result>): Promise<Result> {
  const end = trace.begin(track, name)
  try {
    return await work()
  } finally {
    end()
  }
}
