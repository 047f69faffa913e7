/**
 * @file Ctrl-C: once asks a graceful command to finish its step and save, twice (or once, for any other command) ends the process.
 */
export interface Interrupt {
  readonly signal: AbortSignal
  /** Stops listening; a Ctrl-C then ends the process as Node does by itself. */
  release(): void
}

/**
 * Listens for SIGINT and SIGTERM.
 *
 * @param onFirst the command was asked to finish
 * @param onLast the process must end now; called at most once
 */
export function listenForInterrupt(graceful: boolean, onFirst: () => void, onLast: () => void): Interrupt {
  const controller = new AbortController()
  const release = (): void => {
    process.off('SIGINT', listener)
    process.off('SIGTERM', listener)
  }
  const listener = (): void => {
    if (graceful && !controller.signal.aborted) {
      controller.abort()
      onFirst()
    } else {
      release()
      onLast()
    }
  }
  process.on('SIGINT', listener)
  process.on('SIGTERM', listener)
  return { signal: controller.signal, release }
}
