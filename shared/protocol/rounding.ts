/**
 * @file What codecs draw from: a stream for each micro-batch and direction, so that a run gives the same bits over any link and after a restart.
 */
import { derive, type Random } from '../random.js'

export function roundingStream(
  { seed, client, round, step, micro }: { seed: number; client: string; round: number; step: number; micro: number },
  direction: 'activations' | 'gradients',
): Random {
  return derive(seed, 'rounding', direction, client, round, step, micro)
}
