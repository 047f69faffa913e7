/**
 * @file A client of a server elsewhere, from its first connection to the run's end or its own leaving: what `cutlayer client` and the
 * library's `Client` have in common. It outlives its links: a server that was started again finds it with model and rows open.
 */
import type { Backend } from '../shared/backend/backend.js'
import { UserError } from '../shared/errors.js'
import type { HubEvent } from '../shared/model/hub/snapshot.node.js'
import type { ModelFolder } from '../shared/model/model.node.js'
import type { ClientLink, Traffic } from '../shared/protocol/link.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import type { Trace } from '../shared/trace.js'
import type { ClientData } from './data.js'
import { openRunModel, withoutRows } from './equipment.node.js'
import { joinRun } from './join.js'
import type { FetchProgress } from './fetch-files.node.js'
import { Leaver } from './leave.js'
import { storedMoments } from './moments.node.js'
import type { MomentsStore } from './round.js'
import { connect, type ConnectOptions } from './socket.js'
import { stayInRun } from './stay.js'
import type { TrainerEvent } from './trainer.js'

export interface Participation {
  readonly client: string
  /** The first; what follows if it is lost for good is for `reconnect` to say. */
  readonly link: ClientLink
  readonly reconnect: Reconnect
  readonly backend: Backend
  /** The base model, a folder or a hub id; null: the shipped one if it is the server's, else from the cache and the server. */
  readonly modelFolder: string | null
  /** Hears of a hub model's download. */
  readonly onDownload?: (event: HubEvent) => void
  /** Makes it leave, after the step under way. */
  readonly signal: AbortSignal
  /** Makes it leave at once. */
  readonly urgent?: AbortSignal
  openRows(welcome: MessageOf<'welcome'>, model: ModelFolder): Promise<ClientData>
  onEvent(event: TrainerEvent): void
  /** Hears what each message cost. */
  readonly onTraffic?: (traffic: Traffic) => void
  readonly trace?: Trace
}

/** How a client comes back that has lost its link, or whose server has. */
export interface Reconnect {
  /** How long it tries; 0: it ends at once. */
  readonly retrySeconds: number
  /** Says hello as a new process. null: it was stopped meanwhile. */
  connect(seconds: number): Promise<ClientLink | null>
  onLost?(error: UserError, seconds: number): void
}

/** What a client has open for the run that a welcome is of. */
interface Opened {
  readonly key: string
  readonly model: ModelFolder
  readonly data: ClientData
}

/**
 * Trains until the run is over, or until the client was asked to leave and did. The server never hears what is wrong with rows.
 * @throws UserError whatever keeps it from taking part.
 */
export async function participate(options: Participation): Promise<void> {
  const { link: first, reconnect, signal } = options
  const kept: { opened: Opened | null } = { opened: null }
  await stayInRun({
    connect: async (seconds) => (seconds === null ? first : reconnect.connect(seconds)),
    takePart: (link, onProgress) => takePart(link, options, kept, onProgress),
    retrySeconds: reconnect.retrySeconds,
    signal,
    onLost: (error, seconds) => reconnect.onLost?.(error, seconds),
  })
}

/** @param kept what is open already, and stays so */
async function takePart(
  link: ClientLink,
  { client, backend, modelFolder, onDownload, signal, urgent, openRows, onEvent, onTraffic, trace }: Participation,
  kept: { opened: Opened | null },
  onProgress: () => void,
): Promise<void> {
  const leaver = new Leaver(link, signal, urgent)
  const found: { rowsError: UserError | null; moments: MomentsStore | null } = { rowsError: null, moments: null }
  try {
    await joinRun({
      client,
      link,
      backend,
      lane: 0,
      ...(onTraffic ? { onTraffic } : {}),
      ...(trace ? { trace } : {}),
      async openModel(welcome, files) {
        if (kept.opened?.key === keyOf(welcome)) return kept.opened.model
        const onFetched = (progress: FetchProgress): void => onEvent({ kind: 'fetch', ...progress })
        return openRunModel(welcome, modelFolder, files, onFetched, { signal, ...(onDownload ? { onEvent: onDownload } : {}) })
      },
      async openData(welcome, model) {
        found.moments = storedMoments(welcome.run, client)
        const key = keyOf(welcome)
        if (kept.opened?.key === key) return kept.opened.data
        try {
          const data = await openRows(welcome, model)
          kept.opened = { key, model, data }
          return data
        } catch (error) {
          if (!(error instanceof UserError)) throw error
          found.rowsError = error
          throw withoutRows(error)
        }
      },
      moments: {
        save: async (...kept) => found.moments?.save(...kept),
        load: async (round) => (await found.moments?.load(round)) ?? null,
        rounds: async () => (await found.moments?.rounds()) ?? [],
        clear: async () => found.moments?.clear(),
      },
      onEvent(event) {
        onEvent(event)
        leaver.hear(event)
        if (event.kind === 'round' || event.kind === 'evaluate') onProgress()
      },
    })
  } catch (error) {
    // Its own leaving ends the link like any other.
    if (leaver.hasLeft && error instanceof UserError && error.code === 'CONNECTION_LOST') return
    throw found.rowsError ?? error
  }
}

/** Of all that model and rows depend on. */
function keyOf({ run, model, config, part }: MessageOf<'welcome'>): string {
  return JSON.stringify([run, model.digest, config, part])
}

/** null if it was told to stop before the server answered. @throws UserError as `connect`. */
export async function connectUnlessStopped(options: ConnectOptions, signal: AbortSignal): Promise<ClientLink | null> {
  const connecting = connect(options)
  const stopped = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null)
    else signal.addEventListener('abort', () => resolve(null), { once: true })
  })
  const link = await Promise.race([connecting, stopped])
  if (!link)
    connecting.then(
      (late) => late.close('the client was stopped by whoever runs it'),
      () => {}, // nobody waits for it any more
    )
  return link
}
