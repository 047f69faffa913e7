/**
 * @file A server whose clients come, go and misbehave as a test tells them; over memory links, on the golden model.
 */
import type { ClientData } from '../../client/data.js'
import { helloOf, joinRun, memoryMoments } from '../../client/join.js'
import type { MomentsStore } from '../../client/round.js'
import type { TrainerEvent } from '../../client/trainer.js'
import type { EdgeServer } from '../../server/edge-server.js'
import { silentObserver, type Clock, type RunObserver } from '../../server/observer.js'
import { startServer, type ServerSetup } from '../../server/start.js'
import type { Backend } from '../../shared/backend/backend.js'
import type { ClientConfig, Config } from '../../shared/config/schema.js'
import type { ClientLink } from '../../shared/protocol/link.js'
import { memoryLinkPair, type MemoryLinkPair } from '../../shared/protocol/memory-link.js'
import type { ClientMessage, MessageOf, ServerMessage } from '../../shared/protocol/messages.js'
import type { RoundLine, RunEvent, StepLine } from '../../shared/run-records.js'
import { smallData } from './small-run.js'
import { goldenModel } from './together.js'

export interface LiveServerOptions {
  readonly config: Config
  readonly backend: Backend
  readonly token?: string | null
  readonly clock?: Clock
  readonly observer?: Partial<RunObserver>
  readonly setup?: Pick<Partial<ServerSetup>, 'resume' | 'checkpoints' | 'start' | 'strategy'>
}

export interface JoinOptions {
  readonly token?: string | null
  /** [its own: it may join again in its place] */
  readonly secret?: string
  /** Another than the server's. */
  readonly backend?: Backend
  readonly data?: (client: string, config: ClientConfig) => ClientData
  readonly onEvent?: (event: TrainerEvent) => void
  /** What it has kept. [nothing] */
  readonly moments?: MomentsStore
  /** Before the server's end is handed over. */
  readonly onPair?: (pair: MemoryLinkPair) => void
}

/** A client that trains as it should, until its link is closed. */
export interface LiveClient {
  readonly link: ClientLink
  /** Resolves when the run is over for it, with the error it ended with, or null. */
  readonly ended: Promise<Error | null>
}

export class LiveServer {
  readonly events: RunEvent[] = []
  readonly steps: StepLine[] = []
  readonly rounds: RoundLine[] = []
  private readonly waiting = new Set<() => void>()
  private readonly clients: Promise<unknown>[] = []

  private constructor(
    private readonly options: LiveServerOptions,
    readonly server: EdgeServer,
    private readonly close: () => Promise<void>,
    record: { target: LiveServer | null },
  ) {
    record.target = this
  }

  static async start(options: LiveServerOptions): Promise<LiveServer> {
    const record: { target: LiveServer | null } = { target: null }
    const { model, weights } = goldenModel('gpt2')
    const { observer } = options
    const started = await startServer({
      config: options.config,
      run: 'live',
      model,
      weights,
      backend: options.backend,
      token: options.token ?? null,
      ...(options.clock ? { clock: options.clock } : {}),
      ...options.setup,
      observer: {
        ...silentObserver,
        event: (event) =>
          record.target!.note(
            (live) => live.events.push(event),
            () => observer?.event?.(event),
          ),
        step: (line) =>
          record.target!.note(
            (live) => live.steps.push(line),
            () => observer?.step?.(line),
          ),
        round: (line) =>
          record.target!.note(
            (live) => live.rounds.push(line),
            () => observer?.round?.(line),
          ),
        traffic: (lines) => observer?.traffic?.(lines),
        adapter: (...told) => observer?.adapter?.(...told),
        activity: (activity) => observer?.activity?.(activity),
      },
    })
    return new LiveServer(options, started.server, () => started.dispose(), record)
  }

  /** Resolves once the server has told of something that makes this true. */
  until(isTrue: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!isTrue()) return
        this.waiting.delete(check)
        resolve()
      }
      this.waiting.add(check)
      check()
    })
  }

  join(
    index: number,
    { token = null, secret, backend = this.options.backend, data, onEvent, moments, onPair }: JoinOptions = {},
  ): LiveClient {
    const client = `client-${index}`
    const shown = { token, secret: secret ?? `the secret of ${client}` }
    const pair = memoryLinkPair({ hello: helloOf({ client, ...shown, part: null, ownData: true, engine: backend.name, software: 'test' }) })
    onPair?.(pair)
    this.server.attach(pair.server)
    const { model } = goldenModel('gpt2')
    const ended = joinRun({
      client,
      link: pair.client,
      backend,
      lane: 0,
      openModel: async () => model,
      openData: async ({ config }) => (data ?? smallData(index + 1)[index])(client, config),
      moments: moments ?? memoryMoments(),
      ...(onEvent ? { onEvent } : {}),
    }).then(
      () => null,
      (error: Error) => error,
    )
    this.clients.push(ended)
    return { link: pair.client, ended }
  }

  /** A client that only does what it is told. */
  bare(client: string): BareClient {
    const pair = memoryLinkPair({ hello: helloOf({ client, token: null, part: null, ownData: true, engine: 'none', software: 'test' }) })
    this.server.attach(pair.server)
    return new BareClient(pair.client)
  }

  async dispose(): Promise<void> {
    await this.server.stop('the test is over')
    await Promise.all(this.clients)
    await this.close()
  }

  private note(record: (live: this) => void, tell: () => void): void {
    record(this)
    for (const check of [...this.waiting]) check()
    tell()
  }
}

export class BareClient {
  readonly got: ServerMessage[] = []
  readonly closed: Promise<void>
  private readonly waiting = new Set<() => void>()

  constructor(readonly link: ClientLink) {
    this.closed = new Promise((resolve) => link.onClose(() => resolve()))
    link.onMessage((message) => {
      this.got.push(message)
      for (const check of [...this.waiting]) check()
    })
  }

  send(message: ClientMessage): Promise<void> {
    return this.link.send(message)
  }

  /** The nth message of that type, from 0, as soon as it is there. */
  message<Type extends ServerMessage['type']>(type: Type, n = 0): Promise<MessageOf<Type>> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = this.got.filter((message): message is MessageOf<Type> => message.type === type)[n]
        if (!found) return
        this.waiting.delete(check)
        resolve(found)
      }
      this.waiting.add(check)
      check()
    })
  }
}
