/**
 * @file Mean and deviation of what several runs brought.
 */
export interface Spread<Key extends string> {
  /** null where a run has no such number, or there is no run. */
  readonly mean: Readonly<Record<Key, number | null>>
  /** Of the sample: divided by n - 1. null also where there is one run only. */
  readonly deviation: Readonly<Record<Key, number | null>>
}

/**
 * Each key's mean and sample deviation over the rows.
 *
 * Each is of the numbers as the runs tell them: the mean of perplexities is the mean of exp(loss), which lies above exp(mean loss).
 */
export function spreadOver<Key extends string>(rows: readonly Readonly<Record<Key, number | null>>[], keys: readonly Key[]): Spread<Key> {
  const over = (statistic: (values: readonly number[]) => number | null): Record<Key, number | null> => {
    const entries = keys.map((key) => {
      const values = rows.flatMap(({ [key]: value }) => (value === null ? [] : [value]))
      // Of some of the runs it would not be theirs.
      return [key, values.length < rows.length ? null : statistic(values)]
    })
    return Object.fromEntries(entries) as Record<Key, number | null>
  }
  return { mean: over(meanOf), deviation: over(deviationOf) }
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

function deviationOf(values: readonly number[]): number | null {
  if (values.length < 2) return null
  const mean = meanOf(values)!
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}

/** `80.00 ± 1.25`, or as much of it as there is; `show` writes one number. */
export function plusMinus(mean: number | null, deviation: number | null, show: (value: number) => string): string {
  if (mean === null) return '-'
  return deviation === null ? show(mean) : `${show(mean)} ± ${show(deviation)}`
}
