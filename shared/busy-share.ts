/**
 * @file How busy the engine was: the share of the cores' time that it computed, between the first training step and the last.
 */

/** What one process knows of it. */
export interface BusyTally {
  /** When its first training step began, and the last one ended, microseconds since 1970; null: it made none. */
  readonly firstMicros: number | null
  readonly lastMicros: number | null
  /** Processor time of the programs that ran between the two; null where it cannot be had. */
  readonly processorMicros: number | null
}

/** Counts up one process's tally as things happen, and remembers nothing else. */
export class BusyMeter {
  private first: number | null = null
  private last: number | null = null
  private counted = 0
  /** Of programs that ran since the last step ended: they count once another step does. */
  private open = 0
  private isKnown = true

  stepBegan(atMicros: number): void {
    this.first ??= atMicros
  }

  stepEnded(atMicros: number): void {
    this.last = atMicros
    this.counted += this.open
    this.open = 0
  }

  /** A program has run; what ran before the first step does not count. */
  ran(processorMicros: number | null): void {
    if (this.first === null) return
    if (processorMicros === null) this.isKnown = false
    else this.open += processorMicros
  }

  get tally(): BusyTally {
    return { firstMicros: this.first, lastMicros: this.last, processorMicros: this.isKnown ? this.counted : null }
  }
}

/**
 * Processor time that programs took in all processes / (cores x time from the first step's beginning to the last one's end).
 * @returns 0 to 1; null if no step was made, or processor time cannot be had.
 */
export function busyShare(tallies: readonly BusyTally[], cores: number): number | null {
  const trained = tallies.filter(({ lastMicros }) => lastMicros !== null)
  if (trained.length === 0) return null
  let processorMicros = 0
  for (const tally of tallies) {
    if (tally.processorMicros === null) return null
    processorMicros += tally.processorMicros
  }
  const first = Math.min(...trained.map(({ firstMicros }) => firstMicros!))
  const last = Math.max(...trained.map(({ lastMicros }) => lastMicros!))
  return last > first ? processorMicros / (cores * (last - first)) : null
}
