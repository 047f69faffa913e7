/**
 * @file Equal parts at random.
 */
import type { Random } from '../shared/random.js'

/** Parts of a random order, whose sizes differ by at most one; with fewer units than parts, some are empty. */
export function iidParts(units: number, parts: number, random: Random): number[][] {
  const order = random.permutation(units)
  return Array.from({ length: parts }, (_, part) => {
    const taken = order.subarray(Math.floor((part * units) / parts), Math.floor(((part + 1) * units) / parts))
    return [...taken].sort((a, b) => a - b)
  })
}
