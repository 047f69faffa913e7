/**
 * @file A run's server on this machine, listening: what `cutlayer server` and the library's `EdgeServer` have in common.
 */
import { availableParallelism } from 'node:os'
import { clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { HubEvent } from '../shared/model/hub/snapshot.node.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import { doorOf, linkLimits } from './door.js'
import { serverShare } from './engine-share.js'
import { concludeRun, hostRun, whenAborted, type HostedRun } from './host.js'
import { isLoopback } from './hosts.js'
import { bothObservers, type RunObserver } from './observer.js'
import { Endpoints } from './operation/endpoints.js'
import { listen, type ListenOptions } from './socket.js'
import { checkToken } from './tokens/rule.js'
import { openTokens, WatchedTokens } from './tokens/watched.js'

export interface ServeOptions {
  readonly config: Config
  /** The command line, for metadata.json. */
  readonly argv: readonly string[]
  /** Address to listen on; one that other machines reach needs `insecure`. */
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly insecure: boolean
  readonly watcher: RunObserver
  /** Hears of a hub model's download. */
  readonly onDownload?: ((event: HubEvent) => void) | undefined
  /** Ends the run after the step under way. */
  readonly signal: AbortSignal
}

export interface ServedRun {
  /** What clients connect to. */
  readonly url: string
  readonly hosted: HostedRun
  /** Waits for the end of the run, then closes everything. Call once. @throws UserError what the run failed with. */
  conclude(): Promise<void>
}

/**
 * Listens, opens the model and makes the run's folder. Clients may join from then on.
 * @throws UserError INSECURE_BIND, BAD_ARGUMENT for a token file, PORT_IN_USE, and what `hostRun` throws.
 */
export async function serveRun({ config, argv, host, port, insecure, watcher, onDownload, signal }: ServeOptions): Promise<ServedRun> {
  if (!isLoopback(host) && !insecure) throw openToOthers(host)
  const token = config.transport.token_file === null ? null : await openTokens(config.transport.token_file)
  // The port comes first, so that one in use leaves no empty run behind. Clients that are early wait.
  const early: ServerLink[] = []
  let attach = (link: ServerLink): void => void early.push(link)
  let screen = (hello: MessageOf<'hello'>, _isBack: boolean): void => void checkToken(token, hello)
  let onConnection: NonNullable<ListenOptions['onConnection']> = () => {}
  const endpoints = new Endpoints()
  const listening = await listen({
    host,
    port,
    clients: clientCount(config),
    limits: linkLimits(config),
    screen: (...asked) => screen(...asked),
    onLink: (link) => attach(link),
    onConnection: (...change) => onConnection(...change),
    httpHandler: endpoints.handler,
  })
  const close = (): void => (token instanceof WatchedTokens ? token.close() : undefined)
  const reason = (): string => (signal.aborted ? 'the server was stopped' : 'the run is over')
  try {
    const threads = config.model.threads ?? availableParallelism()
    const hosted = await hostRun({
      ...{ config, argv, token, onDownload, signal },
      share: (model) => serverShare(config, model, threads),
      watcher: bothObservers(endpoints.observer, watcher),
    })
    ;({ attach, screen, onConnection } = doorOf(hosted))
    early.forEach(attach)
    const { server } = hosted.started
    endpoints.opened(() => server.load)
    if (token instanceof WatchedTokens)
      token.watch(
        () => server.recheckTokens(),
        (error) => server.warn(`${error.message}; the tokens as they were before stay in force`),
      )
    return {
      url: listening.url,
      hosted,
      async conclude() {
        try {
          await concludeRun(hosted, signal, async () => {
            try {
              void whenAborted(signal).then(() => server.stopAfterStep(reason()))
              await server.finished
            } finally {
              await server.stop(reason())
            }
          })
        } finally {
          close()
          await listening.close(reason())
        }
      },
    }
  } catch (error) {
    close()
    await listening.close(reason())
    throw error
  }
}

function openToOthers(host: string): UserError {
  return new UserError({
    code: 'INSECURE_BIND',
    what: `the server does not listen on ${host}`,
    why: 'other machines could reach it, and the connection is not encrypted',
    fix: 'listen on 127.0.0.1 and forward the port through ssh, or add --insecure on a network that you trust',
  })
}
