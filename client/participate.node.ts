/**
 * @file A client of a server elsewhere, from its first connection to the run's end or its own leaving: what `cutlayer client` and the
 * library's `Client` have in common.
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
import type { TrainerEvent } from './trainer.js'

export interface Participation {
  readonly client: string
  readonly link: ClientLink
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

/**
 * Trains until the run is over, or until the client was asked to leave and did. The server never hears what is wrong with rows.
 * @throws UserError whatever keeps it from taking part.
 */
export async function participate({
  client,
  link,
  backend,
  modelFolder,
  onDownload,
  signal,
  urgent,
  openRows,
  onEvent,
  onTraffic,
  trace,
}: Participation): Promise<void> {
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
      openModel(welcome, files) {
        const onProgress = (progress: FetchProgress): void => onEvent({ kind: 'fetch', ...progress })
        return openRunModel(welcome, modelFolder, files, onProgress, { signal, ...(onDownload ? { onEvent: onDownload } : {}) })
      },
      async openData(welcome, model) {
        found.moments = storedMoments(welcome.run, client)
        try {
          return await openRows(welcome, model)
        } catch (error) {
          if (!(error instanceof UserError)) throw error
          found.rowsError = error
          throw withoutRows(error)
        }
      },
      moments: {
        save: async (...kept) => found.moments?.save(...kept),
        load: async (round) => (await found.moments?.load(round)) ?? null,
      },
      onEvent(event) {
        onEvent(event)
        leaver.hear(event)
      },
    })
  } catch (error) {
    // Its own leaving ends the link like any other.
    if (leaver.hasLeft && error instanceof UserError && error.code === 'CONNECTION_LOST') return
    throw found.rowsError ?? error
  }
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
        rounds: async () => (await found.moments?.rounds()) ?? [],
        clear: async () => found.moments?.clear(),
