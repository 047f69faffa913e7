/**
 * @file What is made when it is first asked for.
 */

/** A promise made at the first call, and the same at every other. */
export function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | null = null
  return () => (made ??= make())
}
