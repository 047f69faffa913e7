/**
 * @file Numbers as benchmarks give them.
 */

/** The middle one, or the mean of the two in the middle. At least one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[upper] : (sorted[upper - 1] + sorted[upper]) / 2
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
