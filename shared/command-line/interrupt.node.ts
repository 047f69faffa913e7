/**
 * @file What ends a command before its time: Ctrl-C, SIGTERM, and SIGHUP of a terminal that closes.
 *
 * Any of them asks a graceful command to finish its step and save, and ends any other at once. A person may press Ctrl-C again, which ends it at
 * once. Whoever sends SIGTERM or SIGHUP (a service manager, a terminal) ends the process soon after if it does not end by itself, and may send it
 * twice: so there the command has a little time, and neither more nor less.
 */

/** What asks a process to end within a time. */
export type EndingSignal = 'SIGTERM' | 'SIGHUP'

/** After SIGTERM or SIGHUP, milliseconds. */
export interface EndingLimits {
  /** Until the command is to wait for nobody any more. */
  readonly urgentMs: number
  /** Until it is told to end at once. */
  readonly lastMs: number
}

/** Leaves room for farewells between the two, and after them for what was written to go out: Docker kills after 10 s. */
export const ENDING_LIMITS: EndingLimits = { urgentMs: 5000, lastMs: 8500 }

export interface Interrupt {
  readonly signal: AbortSignal
  /** Aborts `urgentMs` after SIGTERM or SIGHUP. */
  readonly urgent: AbortSignal
  /** Stops listening; a signal then ends the process as Node does by itself. */
  release(): void
}

/**
 * Listens for SIGINT, SIGTERM and SIGHUP.
 *
 * @param onFirst the command was asked to finish, by whom: null is a person
 * @param onLast the process must end now; called at most once
 */
export function listenForInterrupt(
  graceful: boolean,
  onFirst: (by: EndingSignal | null) => void,
  onLast: () => void,
  { urgentMs, lastMs }: EndingLimits = ENDING_LIMITS,
): Interrupt {
  const [stop, urgent] = [new AbortController(), new AbortController()]
  let timers: NodeJS.Timeout[] = []
  const release = (): void => {
    process.off('SIGINT', interrupted)
    process.off('SIGTERM', terminated)
    process.off('SIGHUP', terminated)
    timers.forEach(clearTimeout)
  }
  const last = (): void => {
    release()
    onLast()
  }
  const first = (by: EndingSignal | null): void => {
    stop.abort()
    onFirst(by)
  }
  const interrupted = (): void => (graceful && !stop.signal.aborted ? first(null) : last())
  const terminated = (by: NodeJS.Signals): void => {
    if (!graceful) return last()
    if (timers.length > 0) return
    timers = [setTimeout(() => urgent.abort(), urgentMs), setTimeout(last, lastMs)]
    if (!stop.signal.aborted) first(by === 'SIGHUP' ? 'SIGHUP' : 'SIGTERM')
  }
  process.on('SIGINT', interrupted)
  process.on('SIGTERM', terminated)
  process.on('SIGHUP', terminated)
  return { signal: stop.signal, urgent: urgent.signal, release }
}
