/**
 * @file When `reuse` takes a row for what it was: by the cosine of all its numbers, against a threshold that follows the loss.
 */
export interface ReuseOptions {
  /** The least cosine at which a row counts as unchanged. */
  readonly threshold: number
  /** Whether the threshold follows the training's loss. */
  readonly control: boolean
}

/** How far a round moves 1 - threshold, and how far it may get from where it began. */
const MOVE = 0.8
const MOST_MOVED = 4
/** Of the loss: less than this is a stall. */
const IMPROVEMENT = 1e-3

/** Bang-bang control of the threshold: after each round up a step when the loss got better, down when it stalled. Source: SplitCom (arXiv 2602.10564). */
export class Likeness {
  private tolerance: number
  private round: { readonly number: number; nll: number; tokens: number } | null = null
  /** Nats a token, in the round before. */
  private before: number | null = null

  constructor(private readonly options: ReuseOptions) {
    this.tolerance = 1 - options.threshold
  }

  get threshold(): number {
    return 1 - this.tolerance
  }

  isAlike(values: Float32Array, before: Float32Array): boolean {
    let [product, own, other] = [0, 0, 0]
    for (let index = 0; index < values.length; index++) {
      product += values[index] * before[index]
      own += values[index] ** 2
      other += before[index] ** 2
    }
    if (own === 0 || other === 0) return own === other
    return product >= this.threshold * Math.sqrt(own) * Math.sqrt(other)
  }

  /** @param nll summed over so many tokens of a micro-batch of that round */
  heard(round: number, nll: number, tokens: number): void {
    if (this.round?.number !== round) {
      if (this.round) this.closeRound(this.round.nll / this.round.tokens)
      this.round = { number: round, nll: 0, tokens: 0 }
    }
    this.round.nll += nll
    this.round.tokens += tokens
  }

  private closeRound(loss: number): void {
    if (!Number.isFinite(loss)) return
    const { before } = this
    this.before = loss
    if (before === null || !this.options.control) return
    const start = 1 - this.options.threshold
    const moved = loss < before * (1 - IMPROVEMENT) ? this.tolerance * MOVE : this.tolerance / MOVE
    this.tolerance = Math.min(1, start * MOST_MOVED, Math.max(start / MOST_MOVED, moved))
  }
}
