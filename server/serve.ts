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
import { WatchedCertificate } from './certificate.js'
import { bothObservers, type RunObserver } from './observer.js'
import type { InterruptedRun } from './resume/interrupted-run.js'
import { Endpoints } from './operation/endpoints.js'
import { listen, type ListenOptions } from './socket.js'
import { checkToken, isOwn } from './tokens/rule.js'
import { openTokens, WatchedTokens } from './tokens/watched.js'

/** When whoever runs the server had better renew its certificate. */
const EXPIRES_SOON_MS = 14 * 86_400_000

export interface ServeOptions {
  readonly config: Config
  /** The command line, for metadata.json. */
  readonly argv: readonly string[]
  /** Address to listen on; one that other machines reach needs `transport.tls` and `transport.token_file`, or `insecure`. */
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly insecure: boolean
  /** Names by which the server is asked, beside that of its host and those of its certificate. */
  readonly names?: readonly string[] | undefined
  /** Goes on with this run; the config is then its own. It is closed when the run is over; if it cannot begin, whoever opened it releases its lock. */
  readonly resume?: InterruptedRun | undefined
  readonly watcher: RunObserver
  /** Hears of a hub model's download. */
  readonly onDownload?: ((event: HubEvent) => void) | undefined
  /** Ends the run after the step under way. */
  readonly signal: AbortSignal
  /** Ends it at once, if the step takes too long. */
  readonly urgent?: AbortSignal | undefined
}

export interface ServedRun {
  /** What clients connect to. */
  readonly url: string
  readonly hosted: HostedRun
  /** What a client has to bring. */
  readonly clientNeeds: {
    readonly token: 'none' | 'shared' | 'own'
    /** The file with the certificate to trust, if nobody else vouches for the server's. */
    readonly ca: string | null
  }
  /** Waits for the end of the run, then closes everything. Call once. @throws UserError what the run failed with. */
  conclude(): Promise<void>
}

/**
 * Listens, opens the model and makes the run's folder. Clients may join from then on.
 * @throws UserError INSECURE_BIND, CERTIFICATE_UNUSABLE, BAD_ARGUMENT for a token file, PORT_IN_USE, and what `hostRun` throws.
 */
export async function serveRun({
  config,
  argv,
  host,
  port,
  insecure,
  names,
  resume,
  watcher,
  onDownload,
  signal,
  urgent,
}: ServeOptions): Promise<ServedRun> {
  if (!insecure) refuseOpen(host, config)
  const certificate = config.transport.tls && new WatchedCertificate(config.transport.tls)
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
    names,
    certificate: certificate?.first,
    clients: clientCount(config),
    limits: linkLimits(config),
    screen: (...asked) => screen(...asked),
    onLink: (link) => attach(link),
    onConnection: (...change) => onConnection(...change),
    httpHandler: endpoints.handler,
  })
  const close = (): void => {
    if (token instanceof WatchedTokens) token.close()
    certificate?.close()
  }
  const reason = (): string => (signal.aborted ? 'the server was stopped' : 'the run is over')
  try {
    const threads = config.model.threads ?? availableParallelism()
    const hosted = await hostRun({
      ...{ config, argv, token, onDownload, signal, resume },
      share: (model) => serverShare(config, model, threads),
      watcher: bothObservers(endpoints.observer, watcher),
    })
    ;({ attach, screen, onConnection } = doorOf(hosted))
    early.forEach(attach)
    const { server } = hosted.started
    endpoints.opened(() => server.load, signal)
    if (certificate && certificate.first.expires.getTime() - Date.now() < EXPIRES_SOON_MS)
      server.warn(`the certificate expires on ${certificate.first.expires.toISOString()}; the server takes a renewed one while it runs`)
    certificate?.watch(
      (renewed) => listening.renew(renewed),
      (error) => server.warn(`${error.message}; the certificate before it stays in use`),
    )
    if (token instanceof WatchedTokens)
      token.watch(
        () => server.recheckTokens(),
        (error) => server.warn(`${error.message}; the tokens as they were before stay in force`),
      )
    return {
      url: listening.url,
      hosted,
      clientNeeds: {
        token: token === null ? 'none' : isOwn(token) ? 'own' : 'shared',
        ca: certificate?.first.isSelfSigned ? config.transport.tls!.cert : null,
      },
      async conclude() {
        try {
          await concludeRun(hosted, signal, async () => {
            try {
              void whenAborted(signal).then(() => server.stopAfterStep(reason()))
              await Promise.race([server.finished, whenAborted(urgent)])
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

/** What strangers could do at an address that other machines reach, and which key keeps them from it. */
export function openings({ transport }: Config): { readonly danger: string; readonly key: string }[] {
  return [
    ...(transport.tls
      ? []
      : [{ danger: 'the connection is not encrypted, so whoever is on the way can read and change the traffic', key: 'transport.tls' }]),
    ...(transport.token_file === null
      ? [{ danger: 'no token is asked for, so whoever reaches the server can join', key: 'transport.token_file' }]
      : []),
  ]
}

/** @throws UserError INSECURE_BIND if other machines reach the address and something is open. */
function refuseOpen(host: string, config: Config): void {
  const open = openings(config)
  if (isLoopback(host) || open.length === 0) return
  throw new UserError({
    code: 'INSECURE_BIND',
    what: `the server does not listen on ${host}, which other machines reach`,
    why: open.map(({ danger }) => danger).join('; and '),
    fix: `set ${open.map(({ key }) => key).join(' and ')} in the config; or listen on 127.0.0.1 and forward the port through ssh; or add --insecure on a network that you trust`,
  })
}
