/**
 * @file The learning rate as a function of the schedule's position, which all clients and the top share.
 */
import { unreachable } from '../errors.js'

export type SchedulerType = 'constant' | 'linear' | 'cosine'

export interface Schedule {
  readonly type: SchedulerType
  /** The highest rate. */
  readonly learningRate: number
  /** Share of `positions` that warms up; ceil(warmupRatio * positions) of them do, of every type. */
  readonly warmupRatio: number
  /** Positions of the whole run: rounds * local steps. */
  readonly positions: number
}

/**
 * The rate at a position counted from 0. Warm-up rises from 0, so the first of its steps has rate 0.
 * After it `constant` stays, `linear` falls to 0 in a line and `cosine` in half a wave, both reaching 0 at `positions`.
 *
 * Source: transformers 5, optimization.py, get_{constant,linear,cosine}_schedule_with_warmup.
 */
export function scheduledRate({ type, learningRate, warmupRatio, positions }: Schedule, position: number): number {
  const warmup = Math.ceil(warmupRatio * positions)
  if (position < warmup) return (learningRate * position) / Math.max(1, warmup)
  const left = Math.max(0, positions - position) / Math.max(1, positions - warmup)
  switch (type) {
    case 'constant':
      return learningRate
    case 'linear':
      return learningRate * left
    case 'cosine':
      return learningRate * 0.5 * (1 + Math.cos(Math.PI * (1 - left)))
    default:
      return unreachable(`schedule ${String(type)}`)
  }
}
