/**
 * @file Dotted key paths into plain data, as `train.learning_rate`.
 */
export type Mapping = Readonly<Record<string, unknown>>

export function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value at a dotted path, or undefined. Only own keys count, so no path reaches a prototype. */
export function valueAt(root: unknown, path: string): unknown {
  let value = root
  for (const key of path.split('.')) {
    if (!isMapping(value) || !Object.hasOwn(value, key)) return undefined
    value = value[key]
  }
  return value
}

/** A copy of `root` with `value` at the path; what is in its way and not a mapping is replaced. */
export function withValueAt(root: unknown, path: readonly string[], value: unknown): Mapping {
  const [key, ...rest] = path as [string, ...string[]]
  const mapping = isMapping(root) ? root : {}
  const inner = rest.length === 0 ? value : withValueAt(Object.hasOwn(mapping, key) ? mapping[key] : {}, rest, value)
  // Entries, because plain assignment to `__proto__` would set a prototype instead of a key.
  return Object.fromEntries([...Object.entries(mapping).filter(([name]) => name !== key), [key, inner]])
}
