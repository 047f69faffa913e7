/**
 * @file Losses from sums over scored tokens. Sums, not means, are what clients send and what is added up.
 */

/** Sums over the scored tokens of some rows. */
export interface LossSums {
  /** Negative log likelihood in nats; null when it is not a number. */
  readonly nll: number | null
  readonly tokens: number
  /** UTF-8 bytes of the scored text. */
  readonly bytes: number
}

export interface LossReport {
  /** Nats per scored token. */
  readonly loss: number | null
  /** exp(loss). */
  readonly perplexity: number | null
  readonly bitsPerByte: number | null
  /** Why a value is null; absent when none is. */
  readonly reason?: string
}

/** The sums of several groups of rows together, added in the order given. One that is not a number makes the whole so. */
export function addSums(groups: Iterable<LossSums>): LossSums {
  let [nll, tokens, bytes]: [number | null, number, number] = [0, 0, 0]
  for (const group of groups) {
    nll = nll === null || group.nll === null ? null : nll + group.nll
    tokens += group.tokens
    bytes += group.bytes
  }
  return { nll, tokens, bytes }
}

/** A number that JSON can hold: null in place of NaN and the infinities. */
export function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

/**
 * The means of some sums: loss = nll / tokens, perplexity = exp(loss), bits per byte = nll / ln 2 / bytes.
 * What has no finite value is null, with the reason.
 */
export function lossReport({ nll, tokens, bytes }: LossSums): LossReport {
  if (tokens === 0) return { loss: null, perplexity: null, bitsPerByte: null, reason: 'no scored tokens' }
  if (nll === null || !Number.isFinite(nll))
    return { loss: null, perplexity: null, bitsPerByte: null, reason: 'the loss is not a finite number' }
  const loss = nll / tokens
  const perplexity = finiteOrNull(Math.exp(loss))
  const bitsPerByte = bytes === 0 ? null : nll / Math.LN2 / bytes
  const reasons = [
    ...(perplexity === null ? ['the perplexity is too large'] : []),
    ...(bytes === 0 ? ['the scored text has no bytes'] : []),
  ]
  return { loss, perplexity, bitsPerByte, ...(reasons.length > 0 ? { reason: reasons.join('; ') } : {}) }
}
