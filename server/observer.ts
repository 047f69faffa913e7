/**
 * @file What a running server tells the outside: lines for the run directory, and the adapter after every round.
 */
import type { RoundLine, RunEvent, StepLine, TrafficLine } from '../shared/run-records.js'
import type { NamedTensors } from '../shared/tensor.js'

export interface RunObserver {
  event(event: RunEvent): void
  step(line: StepLine): void
  round(line: RoundLine): void
  traffic(lines: readonly TrafficLine[]): void
  /** The whole adapter, client's and server's halves together, before the round's line. Round 0: the one training starts from. */
  adapter(round: number, adapter: NamedTensors): void | Promise<void>
}

export const silentObserver: RunObserver = { event() {}, step() {}, round() {}, traffic() {}, adapter() {} }

/** Time, so that tests can make it pass. */
export interface Clock {
  /** Milliseconds since any fixed moment. */
  now(): number
  /** @returns cancels it. */
  after(ms: number, task: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms)
    return () => clearTimeout(timer)
  },
}
