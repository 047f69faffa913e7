/**
 * @file What must come to its end before the process may: `process.exit` stops workers wherever they are, and one that is inside native code
 * then takes the whole process down with an abort, so that the exit status is lost.
 */
type Closer = () => Promise<void>

const closers = new Set<Closer>()

/**
 * Registers what to await before the process exits; it should start nothing new from then on.
 *
 * @returns takes the registration back, once there is nothing left to close
 */
export function beforeExit(close: Closer): () => void {
  closers.add(close)
  return () => closers.delete(close)
}

/**
 * Closes all that is registered, and waits for it.
 *
 * @param limitMs how long at most: what hangs must not keep the process
 * @returns whether all of it has ended
 */
export async function closeBeforeExit(limitMs: number): Promise<boolean> {
  const closing = Promise.allSettled([...closers].map((close) => close())).then(() => true)
  closers.clear()
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), limitMs)))
  const isClosed = await Promise.race([closing, limit])
  clearTimeout(timer)
  return isClosed
}
