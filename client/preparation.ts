/**
 * @file Makes the batches of a step before they are needed, while the client waits for the step before. What they are depends on the step's
 * number alone, so when they are made changes nothing.
 */
import type { Trace } from '../shared/trace.js'

/** Of one round. It holds the batches of one step at most. */
export class Preparation<Batches> {
  private ready: { readonly step: number; readonly batches: Batches } | null = null

  constructor(
    private readonly make: (step: number) => Batches,
    /** Steps of the round. */
    private readonly steps: number,
    private readonly trace: Trace,
    private readonly track: string,
  ) {}

  /** Makes those of a step, unless they are there or the round has no such step. */
  prepare(step: number): void {
    if (step >= this.steps || this.ready?.step === step) return
    const end = this.trace.begin(this.track, 'prepare batches', { step })
    this.ready = { step, batches: this.make(step) }
    end()
  }

  /** Hands them out, made now if need be: after a dropped step the next may be any. */
  take(step: number): Batches {
    if (this.ready?.step !== step) this.ready = null
    this.prepare(step)
    const { ready } = this
    this.ready = null
    return ready ? ready.batches : this.make(step)
  }
}
