/**
 * @file Chooses the next token from logits. Names, order and edge cases are those of transformers' logits processors.
 */
import { derive } from '../random.js'

export interface SamplingOptions {
  /** 0: the likeliest token, always. Otherwise logits are divided by it. */
  readonly temperature: number
  /** Only the k likeliest tokens; 0: all. */
  readonly topK: number
  /** Only the likeliest tokens whose probabilities reach p together, the one that reaches it included; 1: all. */
  readonly topP: number
  /** Logits of tokens seen before are divided (positive) or multiplied (negative) by it; 1: off. Source: Keskar et al. 2019, arXiv:1909.05858. */
  readonly repetitionPenalty: number
  readonly seed: number
}

/**
 * @param logits f32 [vocabulary]; not changed.
 * @param seen tokens of the text so far.
 * @param step number of this choice, from 0: each has a random stream of its own.
 */
export function chooseToken(logits: Float32Array, seen: Iterable<number>, step: number, options: SamplingOptions): number {
  const { temperature, topK, topP, repetitionPenalty, seed } = options
  const scores = Float64Array.from(logits)
  if (repetitionPenalty !== 1)
    for (const id of new Set(seen)) scores[id] = scores[id] > 0 ? scores[id] / repetitionPenalty : scores[id] * repetitionPenalty
  if (temperature === 0) return likeliest(scores)
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b)
  const candidates = topK > 0 ? order.slice(0, topK) : order
  const highest = scores[candidates[0]]
  const weights = candidates.map((id) => Math.exp((scores[id] - highest) / temperature))
  const kept = nucleus(weights, topP)
  let left = derive(seed, 'generate', step).uniform() * sum(weights.slice(0, kept))
  for (let i = 0; i < kept; i++) {
    left -= weights[i]
    if (left < 0) return candidates[i]
  }
  return candidates[kept - 1]
}

/** The first of equals, as torch.argmax. */
function likeliest(scores: Float64Array): number {
  let best = 0
  for (let id = 1; id < scores.length; id++) if (scores[id] > scores[best]) best = id
  return best
}

/** How many of these falling weights reach the share `topP` of their sum; at least one. Source: Holtzman et al. 2019, arXiv:1904.09751. */
function nucleus(weights: readonly number[], topP: number): number {
  if (topP >= 1) return weights.length
  const wanted = topP * sum(weights)
  let reached = 0
  for (let i = 0; i < weights.length; i++) {
    reached += weights[i]
    if (reached >= wanted) return i + 1
  }
  return weights.length
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
