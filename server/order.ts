/**
 * @file The order of client ids wherever one is needed: by code unit, the same on every machine.
 */
export function compareIds(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
