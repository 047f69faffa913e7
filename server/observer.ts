/**
 * @file What a running server tells the outside: lines for the run directory, and the adapter after every round.
 */
import type { Traffic } from '../shared/protocol/link.js'
import type { RoundLine, RunEvent, StepLine, TrafficLine } from '../shared/run-records.js'
import type { NamedTensors } from '../shared/tensor.js'

/** What takes the time now. */
export interface Activity {
  readonly doing:
    'opening' | 'checking' | 'preparing' | 'compiling' | 'gathering' | 'awaiting' | 'training' | 'collecting' | 'merging' | 'evaluating'
  /** 0 before training. */
  readonly round: number
  /** Whom it waits for, in id order: who joined and loads its model (gathering), is to come back (awaiting), owes an adapter (collecting), or evaluates. */
  readonly clients: readonly string[]
}

/** What happens many times a second. */
export type Work =
  /** A message has crossed a client's link, whole. */
  | { readonly kind: 'message'; readonly traffic: Traffic }
  /** A client has made a local step; seconds since its last one, or since the round's start. */
  | { readonly kind: 'step'; readonly seconds: number; readonly tokens: number }
  /** The top has computed a micro-batch: what that took, and how long it had to wait. */
  | {
      readonly kind: 'micro-batch'
      readonly purpose: 'train' | 'evaluate'
      readonly queuedSeconds: number
      readonly computeSeconds: number
    }

export interface RunObserver {
  event(event: RunEvent): void
  step(line: StepLine): void
  round(line: RoundLine): void
  traffic(lines: readonly TrafficLine[]): void
  /**
   * The whole adapter, client's and server's halves together, once a round's replies are merged. The round's line waits until it is taken
   * care of; the next round does not, and only that one's adapter waits in turn.
   * @param client null; in the topology `local` whose adapter it is, once for each client that replied.
   */
  adapter(round: number, adapter: NamedTensors, client: string | null): void | Promise<void>
  /** Whenever that changes; for whoever watches, and not for the books. */
  activity(activity: Activity): void
  /** All of it, whatever is logged; for whoever counts, and not for the books. */
  work(work: Work): void
}

/**
 * An observer that never throws: the first error (a disk that is full, say) is handed to `onError`, and nothing is told after it.
 * A server in the middle of an event can then finish it before the run ends.
 */
export function guardedObserver(observer: RunObserver, onError: (error: unknown) => void): RunObserver {
  let isBroken = false
  const broke = (error: unknown): void => {
    if (isBroken) return
    isBroken = true
    onError(error)
  }
  const guarded =
    <Arguments extends readonly unknown[]>(tell: (...args: Arguments) => void) =>
    (...args: Arguments): void => {
      if (isBroken) return
      try {
        tell(...args)
      } catch (error) {
        broke(error)
      }
    }
  return {
    event: guarded((event) => observer.event(event)),
    step: guarded((line) => observer.step(line)),
    round: guarded((line) => observer.round(line)),
    traffic: guarded((lines) => observer.traffic(lines)),
    activity: guarded((activity) => observer.activity(activity)),
    work: guarded((work) => observer.work(work)),
    async adapter(...told) {
      if (isBroken) return
      try {
        await observer.adapter(...told)
      } catch (error) {
        broke(error)
      }
    },
  }
}

export const silentObserver: RunObserver = { event() {}, step() {}, round() {}, traffic() {}, adapter() {}, activity() {}, work() {} }

/** An observer that hears only some of it. */
export function fullObserver(some: Partial<RunObserver>): RunObserver {
  return {
    event: (event) => some.event?.(event),
    step: (line) => some.step?.(line),
    round: (line) => some.round?.(line),
    traffic: (lines) => some.traffic?.(lines),
    adapter: (...told) => some.adapter?.(...told),
    activity: (activity) => some.activity?.(activity),
    work: (work) => some.work?.(work),
  }
}

/** Tells two, one after the other. */
export function bothObservers(first: RunObserver, second: RunObserver): RunObserver {
  return {
    event(event) {
      first.event(event)
      second.event(event)
    },
    step(line) {
      first.step(line)
      second.step(line)
    },
    round(line) {
      first.round(line)
      second.round(line)
    },
    traffic(lines) {
      first.traffic(lines)
      second.traffic(lines)
    },
    activity(activity) {
      first.activity(activity)
      second.activity(activity)
    },
    work(work) {
      first.work(work)
      second.work(work)
    },
    async adapter(...told) {
      await first.adapter(...told)
      await second.adapter(...told)
    },
  }
}

/** Time, so that tests can make it pass. */
export interface Clock {
  /** Milliseconds since any fixed moment. */
  now(): number
  /** @returns cancels it. */
  after(ms: number, task: () => void): () => void
}

/** setTimeout fires at once when asked for more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, task) {
    let timer: ReturnType<typeof setTimeout>
    const wait = (left: number): void => {
      timer = setTimeout(() => (left > LONGEST_TIMER_MS ? wait(left - LONGEST_TIMER_MS) : task()), Math.min(left, LONGEST_TIMER_MS))
    }
    wait(ms)
    return () => clearTimeout(timer)
  },
}
