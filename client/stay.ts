/**
 * @file A client that outlives its connection, and its server: when a link is lost for good and the run was not over, it joins again as a new process
 * would, for as long as it is told to try.
 */
import { UserError } from '../shared/errors.js'
import type { ClientLink } from '../shared/protocol/link.js'

/** How long a client tries to come back unless told otherwise. */
export const DEFAULT_RETRY_SECONDS = 600

const FIRST_PAUSE_MS = 250
const LAST_PAUSE_MS = 15_000

export interface StayOptions {
  /** Connects and says hello as a new process; tries for so long, or as it sees fit. null: the client was stopped. */
  connect(seconds: number | null): Promise<ClientLink | null>
  /**
   * Takes part until the run is over. @param onProgress to be called when the server has work for the client
   * @throws UserError CONNECTION_LOST if the link is lost for good.
   */
  takePart(link: ClientLink, onProgress: () => void): Promise<void>
  /** How long it tries to come back before the server has work for it again; 0: not at all. */
  readonly retrySeconds: number
  /** The client is to stop. */
  readonly signal: AbortSignal
  /** Hears why the link was lost, and how many seconds there are to come back. */
  onLost?(error: UserError, seconds: number): void
  readonly time?: StayTime
}

/** Time and chance, so that tests need neither. */
export interface StayTime {
  /** Milliseconds since any fixed moment. */
  now(): number
  /** Resolves then, or when it is aborted. */
  pause(ms: number, signal: AbortSignal): Promise<void>
  /** 0 to 1. */
  random(): number
}

/**
 * Resolves when the run is over or the client was stopped.
 * @throws UserError what `connect` and `takePart` throw, but CONNECTION_LOST only once the time to come back is over; a server that says why the client may
 *   not join is not asked again.
 */
export async function stayInRun({ connect, takePart, retrySeconds, signal, onLost, time = systemTime }: StayOptions): Promise<void> {
  let link = await connect(null)
  let triesUntil: number | null = null
  let pauses = 0
  while (link) {
    try {
      // A server that takes the client in and loses it again, over and over, is as good as away.
      return await takePart(link, () => {
        triesUntil = null
        pauses = 0
      })
    } catch (error) {
      if (!isLoss(error) || retrySeconds === 0 || signal.aborted) throw error
      triesUntil ??= time.now() + retrySeconds * 1000
      // Clients of one server lose it at the same moment, and should not all come back at one.
      const pauseMs = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** pauses++) * (0.5 + time.random())
      const leftMs = triesUntil - time.now() - pauseMs
      if (leftMs <= 0) throw error
      onLost?.(error, Math.ceil((leftMs + pauseMs) / 1000))
      await time.pause(pauseMs, signal)
      link = signal.aborted ? null : await connect(leftMs / 1000)
    }
  }
}

function isLoss(error: unknown): error is UserError {
  return error instanceof UserError && error.code === 'CONNECTION_LOST'
}

const systemTime: StayTime = {
  now: () => performance.now(),
  random: () => Math.random(),
  pause: (ms, signal) =>
    new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      signal.addEventListener('abort', end)
    }),
}
