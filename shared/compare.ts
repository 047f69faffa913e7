/**
 * @file The order of names and ids wherever one is needed.
 */

/** Compares by code unit, the same on every machine and in every locale; for `sort`. */
export function compareCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
