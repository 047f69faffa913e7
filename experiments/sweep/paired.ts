/**
 * @file What pairs of runs differ by: the mean of the differences, and how sure it is. Runs of one seed make the same draws, so their difference is
 * much smaller than either's deviation over seeds.
 */

/** A mean with its 95% confidence interval, Student's t with n - 1 degrees of freedom; null where there are fewer than two pairs. */
export interface Interval {
  readonly mean: number
  readonly low: number | null
  readonly high: number | null
}

/** 97.5% quantiles of Student's t by degrees of freedom, from 1. Source: any table of it, such as NIST's e-Handbook, 1.3.6.7.2. */
const T_QUANTILES = [
  ...[12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228],
  ...[2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086],
  ...[2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042],
]
const NORMAL_QUANTILE = 1.96

/** @param pairs values and what each is compared with. @returns the relative difference; null without a pair */
export function relativeDifference(pairs: readonly (readonly [value: number, against: number])[]): Interval | null {
  if (pairs.length === 0) return null
  const differences = pairs.map(([value, against]) => value / against - 1)
  const n = differences.length
  const mean = differences.reduce((sum, difference) => sum + difference, 0) / n
  if (n === 1) return { mean, low: null, high: null }
  const variance = differences.reduce((sum, difference) => sum + (difference - mean) ** 2, 0) / (n - 1)
  const reach = (T_QUANTILES[n - 2] ?? NORMAL_QUANTILE) * Math.sqrt(variance / n)
  return { mean, low: mean - reach, high: mean + reach }
}
