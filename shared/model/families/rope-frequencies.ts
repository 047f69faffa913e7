/**
 * @file How fast the pairs of a rotary embedding turn: the plain frequencies, and three ways to stretch them to longer texts.
 *
 * Each step is rounded to float32, as PyTorch computes them: a position of many thousands makes the last bits of a frequency visible.
 * Formulas and names as in transformers' modeling_rope_utils.py.
 */

/** Rotations per token of each pair of numbers, in radians, and what rotated queries and keys are multiplied by. */
export interface Rope {
  readonly frequencies: readonly number[]
  readonly scale: number
}

interface Plain {
  /** Numbers of a head; even. */
  readonly size: number
  readonly theta: number
}

interface Linear extends Plain {
  readonly factor: number
}

interface Llama3 extends Linear {
  readonly lowFrequencyFactor: number
  readonly highFrequencyFactor: number
  /** Tokens of the texts that the model first learned from. */
  readonly originalPositions: number
}

interface Yarn extends Linear {
  readonly originalPositions: number
  readonly betaFast: number
  readonly betaSlow: number
  readonly truncate: boolean
}

const f = Math.fround

/** theta^(2 i / size): tokens a pair takes for one radian. */
function wavelengths({ size, theta }: Plain): number[] {
  return Array.from({ length: size / 2 }, (_, i) => f(f(theta) ** f((2 * i) / size)))
}

/** Source: Su et al. 2021, arXiv:2104.09864, section 3.4.3. */
export function plainFrequencies(plain: Plain): number[] {
  return wavelengths(plain).map((length) => f(1 / length))
}

/** All slower by the same factor. Source: Chen et al. 2023, arXiv:2306.15595. */
export function linearFrequencies(linear: Linear): number[] {
  return plainFrequencies(linear).map((frequency) => f(frequency / f(linear.factor)))
}

/** Fast pairs as they are, slow ones slower by the factor, those between blended. Source: Llama 3.1's reference code, `apply_scaling`. */
export function llama3Frequencies(llama3: Llama3): number[] {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = llama3
  return plainFrequencies(llama3).map((frequency) => {
    const turn = f(f(2 * Math.PI) / frequency)
    if (turn < f(originalPositions / high)) return frequency
    if (turn > f(originalPositions / low)) return f(frequency / f(factor))
    const smooth = f(f(f(originalPositions / turn) - f(low)) / f(high - low))
    return f(f(f(f(1 - smooth) * frequency) / f(factor)) + f(smooth * frequency))
  })
}

/**
 * As llama3, blended linearly over the number of the pair.
 * Source: Peng et al. 2023, arXiv:2309.00071, section 3.2.
 */
export function yarnFrequencies(yarn: Yarn): number[] {
  const { size, theta, factor, originalPositions, betaFast, betaSlow, truncate } = yarn
  /** The pair, not a whole number, that makes so many full turns in a text of the original length. */
  const pairOf = (turns: number): number => (size * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
  const [fast, slow] = [pairOf(betaFast), pairOf(betaSlow)]
  const from = Math.max(truncate ? Math.floor(fast) : fast, 0)
  const to = Math.min(truncate ? Math.ceil(slow) : slow, size - 1)
  const width = from === to ? 0.001 : to - from
  return wavelengths(yarn).map((length, i) => {
    const stretched = Math.min(Math.max(f(f(i - f(from)) / f(width)), 0), 1)
    const kept = f(1 - stretched)
    return f(f(f(1 / f(f(factor) * length)) * f(1 - kept)) + f(f(1 / length) * kept))
  })
}

/** What YaRN multiplies queries and keys by. Source: as yarnFrequencies, section 3.3; the two scales are DeepSeek's. */
export function yarnScale(factor: number, numerator: number | null, denominator: number | null): number {
  const of = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1)
  return numerator && denominator ? of(numerator) / of(denominator) : of(1)
}
