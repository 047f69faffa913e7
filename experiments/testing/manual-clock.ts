/**
 * @file Time that only passes when told to.
 */
import type { Clock } from '../../server/observer.js'

export interface ManualClock extends Clock {
  /** Runs what is due. */
  advance(ms: number): void
}

export function manualClock(): ManualClock {
  let now = 0
  const timers = new Set<{ at: number; task: () => void }>()
  return {
    now: () => now,
    after(ms, task) {
      const timer = { at: now + ms, task }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      now += ms
      for (const timer of [...timers])
        if (timer.at <= now) {
          timers.delete(timer)
          timer.task()
        }
    },
  }
}
