/**
 * @file Work that waits for its turn, so that only so much of it is under way at once.
 */
export class Turns {
  private free: number
  private readonly waiting: (() => void)[] = []

  /** @param atOnce how many may work at the same time, at least 1. */
  constructor(atOnce: number) {
    this.free = atOnce
  }

  /** How much work waits. */
  get length(): number {
    return this.waiting.length
  }

  /** Does the work when its turn comes; first come, first served. */
  async take<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.free > 0) this.free--
    else await new Promise<void>((resolve) => this.waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.waiting.shift()
      if (next) next()
      else this.free++
    }
  }
}
