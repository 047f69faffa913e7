/**
 * @file Draws from a Dirichlet distribution, good for concentrations near zero too.
 */
import type { Random } from '../shared/random.js'

/**
 * Shares that sum to 1, drawn from Dir(concentrations): independent gamma variables divided by their sum.
 *
 * They are kept as logarithms until then: a gamma variable of shape 0.01 is often smaller than the smallest float64.
 *
 * @param concentrations all above 0.
 */
export function dirichlet(concentrations: readonly number[], random: Random): number[] {
  const logs = concentrations.map((shape) => logGamma(shape, random))
  const largest = logs.reduce((most, log) => Math.max(most, log), -Infinity)
  const scaled = logs.map((log) => Math.exp(log - largest))
  const sum = scaled.reduce((total, value) => total + value, 0)
  return scaled.map((value) => value / sum)
}

/**
 * The logarithm of a gamma variable of that shape and scale 1.
 *
 * Source: Marsaglia & Tsang 2000, "A simple method for generating gamma variables", ACM TOMS 26, with their boost
 * G(a) = G(a + 1) U^(1/a) for shapes below 1.
 */
function logGamma(shape: number, random: Random): number {
  if (shape < 1) return logGamma(shape + 1, random) + Math.log(1 - random.uniform()) / shape
  const d = shape - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = random.normal()
    const v = (1 + c * x) ** 3
    if (v > 0 && Math.log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v)
  }
}
