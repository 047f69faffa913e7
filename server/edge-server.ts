/**
 * @file The edge server: lets clients join over links, reads what they send, and hands it to the round machine.
 *
 * It opens no socket and no file. The rest of it: the clients that are connected (roster.ts), the top's work on their activations
 * (step-engine.ts), their half of the adapter (client-adapters.ts), the rounds (round-runner.ts) and what is written down (round-records.ts).
 */
import { clientConfigOf, clientCount, type Config } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import type { Architecture } from '../shared/model/families/family.js'
import type { ServedModel } from '../shared/model/served.node.js'
import type { TopStage } from '../shared/model/stage.js'
import { clientsNamed, possibleCodecs } from '../shared/protocol/codec/setting.js'
import type { ServerLink, Traffic } from '../shared/protocol/link.js'
import { PROTOCOL_VERSION, type ClientMessage, type MessageOf, type ModelCard, type ServerMessage } from '../shared/protocol/messages.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import { Admission, type AdmissionRules } from './admission.js'
import type { ClientAdapters } from './client-adapters.js'
import { clientAdapters, halvesOf, topTrainer } from './halves.js'
import { Inflight, inflightLimits } from './inflight.js'
import { internalError } from './internal-error.js'
import { invalid } from './invalid.js'
import { ClientCodecs } from './client-codecs.js'
import type { ClientCuts } from './client-cuts.js'
import { guardedObserver, systemClock, type Activity, type Clock, type RunObserver } from './observer.js'
import { ClientMessages } from './client-messages.js'
import { ModelDesk } from './model-desk.js'
import { RoundRecords } from './round-records.js'
import { RoundRunner } from './round-runner.js'
import { activityOf, clientStates, turnsOf, type ClientState } from './round-queries.js'
import { roundSettings } from './round-settings.js'
import { fitted, membersOf, type CheckpointSink, type ResumeFrom } from './resume-from.js'
import type { ClientId, RoundState } from './round-state.js'
import { farewell, Roster } from './roster.js'
import type { SavedState } from './saved-state.js'
import { StepEngine } from './step-engine.js'
import type { Strategy } from './strategy/strategy.js'
import type { TokenRule } from './tokens/rule.js'
import { copyTensors, type TopTrainer } from './top.js'

export interface EdgeServerOptions {
  readonly config: Config
  readonly run: string
  readonly model: ModelCard
  readonly architecture: Architecture
  /** The model's files, for clients that lack them. */
  readonly files?: ServedModel
  /** The top from the cut on; null where clients hold the whole model. */
  readonly top: TopStage | null
  readonly cuts: ClientCuts
  /** The whole adapter that training starts from. The top's part of it is the server's, all else the clients'. */
  readonly start: NamedTensors
  readonly strategy: Strategy
  readonly observer: RunObserver
  readonly token: TokenRule
  /** Goes on from there; from the beginning, unless given. */
  readonly resume?: ResumeFrom | undefined
  /** Takes the state at every round's end. */
  readonly checkpoints?: CheckpointSink | undefined
  readonly clock?: Clock
  /** Is told what the server does when; its engine has to be given it, too. */
  readonly trace?: Trace
}

/** What a look at a server shows. */
export interface ServerLoad {
  /** 0 before training. */
  readonly round: number
  /** null: the run has ended, and nobody may join. */
  readonly doing: Activity['doing'] | null
  readonly clients: Readonly<Record<ClientState, number>>
  /** Micro-batches that wait for the top. */
  readonly queueLength: number
  /** Of activations that were granted and are not computed, as `transport.max_inflight_bytes` counts them; 0 where clients need not ask. */
  readonly inflightBytes: number
}

const MOST_REFUSALS_NOTED = 1000

export class EdgeServer {
  private readonly admission: Admission
  private readonly top: TopTrainer | null
  private readonly observer: RunObserver
  private readonly roster: Roster
  private readonly codecs: ClientCodecs
  private readonly engine: StepEngine
  private readonly inflight: Inflight
  private readonly adapters: ClientAdapters
  private readonly records: RoundRecords
  private readonly rounds: RoundRunner
  private readonly messages: ClientMessages
  private refusals = 0
  private hasLookedForStrangers = false

  constructor(private readonly options: EdgeServerOptions) {
    const { config, strategy, architecture, trace = silentTrace } = options
    const clock = options.clock ?? systemClock
    const settings = roundSettings(config)
    this.observer = guardedObserver(options.observer, (error) => void this.rounds.fail(error))
    const { clients, top } = halvesOf(options.start, options.top)
    this.top = options.top && topTrainer(options.top, top, config)
    const saved = options.resume?.saved ? fitted(options.resume.saved, clients, options.top && top) : null
    const rules: AdmissionRules = {
      token: options.token,
      clients: clientCount(config),
      codecs: (client) => [
        ...possibleCodecs(config.transport.activation_codec, client, 'activations'),
        ...possibleCodecs(config.transport.gradient_codec, client, 'gradients'),
      ],
      undivided: config.split.topology === 'centralized',
      namesFolders: config.split.topology === 'local',
    }
    this.admission = new Admission(
      rules,
      saved?.members.map(({ id, part }) => [id, part]),
    )
    this.codecs = new ClientCodecs(config.transport, options.cuts, clock)
    this.roster = new Roster(
      (client, link, error) => this.giveUp(client, link, error),
      trace,
      (client, message) => this.codecs.sending(client, message),
    )
    this.engine = new StepEngine({
      ...{ config, architecture, top: this.top, cuts: options.cuts, trace, clock },
      onWork: (work) => this.observer.work(work),
    })
    this.adapters = clientAdapters(clients, strategy, config)
    this.records = new RoundRecords(config, strategy.name, this.observer, clock)
    if (saved) {
      this.adapters.restore(saved.clients)
      if (saved.top) this.top?.restore(saved.top)
      this.records.resume(saved.round, saved.traffic)
    }
    this.inflight = new Inflight({
      ...inflightLimits(config, architecture),
      turns: () => turnsOf(settings, this.rounds.state),
      grant: (client, { round, attempt, step, micro }) => this.roster.send(client, { type: 'grant', round, attempt, step, micro }),
    })
    const parts = {
      settings,
      roster: this.roster,
      engine: this.engine,
      codecs: this.codecs,
      inflight: this.inflight,
      adapters: this.adapters,
      records: this.records,
      observer: this.observer,
    }
    const onUnusable = this.giveUp.bind(this)
    this.rounds = new RoundRunner({
      ...parts,
      config,
      strategy,
      top: this.top,
      clock,
      trace,
      resume: options.resume,
      checkpoint: options.checkpoints && ((state) => this.checkpoint(options.checkpoints!, state)),
      keptSince: (client) => oldest(this.adapters.keptRound(client), options.checkpoints?.keptSince(client) ?? null),
      adapter: (client) => this.adapter(client),
      onUnusable,
    })
    const desk = new ModelDesk({ model: options.files ?? null, clock, isBusy: () => this.rounds.isBusyWithClients, onUnusable })
    void this.rounds.finished.catch(() => {}).then(() => desk.close())
    const before = new Map((saved?.members ?? []).flatMap(({ id, counts }) => (counts ? [[id, counts] as const] : [])))
    this.messages = new ClientMessages({ ...parts, before, desk, rounds: this.rounds, onLeave: this.lose.bind(this), onUnusable })
    this.rounds.endIfThrough()
  }

  /** Resolves when the run has finished or was stopped, and clients were told; rejects with what it failed of. */
  get finished(): Promise<void> {
    return this.rounds.finished
  }

  /** Whether it has ended: nobody may join any more. */
  get isOver(): boolean {
    return this.rounds.end !== null
  }

  /** The current round, 0 before training. */
  get round(): number {
    return this.rounds.state.round
  }

  /** How it is now. */
  get load(): ServerLoad {
    const { state, end } = this.rounds
    return {
      round: state.round,
      doing: end ? null : (activityOf(roundSettings(this.options.config), state)?.doing ?? null),
      clients: clientStates(state),
      queueLength: this.engine.queueLength,
      inflightBytes: this.inflight.heldBytes,
    }
  }

  /**
   * The whole adapter, both halves, as of the last finished round.
   * @param client whose, in the topology `local`; without one, there, what every client starts from.
   */
  adapter(client: ClientId | null = null): Map<string, F32Tensor> {
    // A copy of the top's: the next round trains it in place, while whoever got it here may still be writing it down.
    const halves = new Map<string, F32Tensor>([...this.adapters.adapterOf(client), ...copyTensors(this.top?.adapter ?? new Map())])
    return new Map([...this.options.start.keys()].map((name) => [name, halves.get(name)!]))
  }

  /** Ends the run once its step under way is made and every client in it has its gradient; clients are told why. `finished` tells when. */
  stopAfterStep(reason: string): void {
    this.rounds.stopAfterStep(reason)
  }

  /** Ends the run at once; clients are told why. Calling it again, or after the end, does nothing but wait for that. */
  stop(reason: string): Promise<void> {
    return this.rounds.stop(reason)
  }

  /** Takes over a link whose first message is the client's hello. */
  attach(link: ServerLink): void {
    let client: ClientId | null = null
    let isRefused = false
    // Who has not been let in is not in the books.
    let early: [ClientMessage | ServerMessage, Traffic][] = []
    link.onTraffic((traffic, message) => {
      if (client === null && !isRefused) early.push([message, traffic])
      else if (client !== null) this.book(client, message, traffic)
    })
    link.onMessage((message) => {
      if (isRefused) return
      try {
        if (client !== null) return this.roster.linkOf(client) === link ? this.messages.receive(client, message) : undefined
        client = this.letIn(link, message)
        if (client !== null) for (const [first, traffic] of early) this.book(client, first, traffic)
        early = []
      } catch (error) {
        if (client !== null) return this.giveUp(client, link, error)
        isRefused = true
        early = []
        this.refuse(link, message, error)
      }
    })
    link.onClose((reason, error) => {
      if (client !== null && this.roster.linkOf(client) === link) this.lose(client, error ? error.why : reason)
    })
  }

  /**
   * Looks at a hello before there is a link: who may not join costs the server no more than this.
   * @param isBack whether it goes on with a link that it has; its token may have been revoked since.
   * @throws UserError why it may not join; the run has noted it.
   */
  screen(hello: MessageOf<'hello'>, isBack = false): void {
    try {
      if (isBack) this.admission.checkToken(hello)
      else this.admission.check(hello, this.roster.linkOf(hello.client) !== null)
    } catch (error) {
      this.noteRefusal(hello.client, asUserError(error))
      throw error
    }
  }

  /** Tokens may have been revoked, or have expired: who joined with one is told and put out. */
  recheckTokens(): void {
    for (const client of this.roster.ids)
      try {
        this.admission.recheck(client)
      } catch (error) {
        this.giveUp(client, this.roster.linkOf(client), error)
      }
  }

  /** Notes what is wrong around the run, though it goes on. */
  warn(reason: string): void {
    if (!this.rounds.end) this.observer.event({ event: 'warning', reason })
  }

  /** A client's connection broke while its link goes on, or it is back. */
  connectionChanged(client: ClientId, link: ServerLink, state: 'lost' | 'back'): void {
    if (this.roster.linkOf(client) !== link) return
    this.observer.event({ event: state === 'lost' ? 'connection-lost' : 'retry', client, round: this.round })
  }

  /** What is needed to go on from here, as it is now. @returns writes it down */
  private checkpoint(sink: CheckpointSink, state: RoundState): () => Promise<void> {
    const { config, resume } = this.options
    const saved: SavedState = {
      round: state.round,
      attempt: state.attempt,
      localSteps: state.localSteps,
      members: membersOf(state, this.admission.members, resume?.saved?.members ?? [], config.federation.on_client_loss === 'restart_round'),
      clients: this.adapters.save(),
      top: this.top?.save() ?? null,
      traffic: this.records.pendingTraffic,
    }
    return () => sink.save(saved)
  }

  private book(client: ClientId, message: ClientMessage | ServerMessage, traffic: Traffic): void {
    this.roster.booked(client, traffic, message)
    this.records.traffic(client, message, traffic, this.rounds.state)
  }

  /** @returns the client's id, or null if the run is over. @throws UserError why it may not join. */
  private letIn(link: ServerLink, message: ClientMessage): ClientId | null {
    if (message.type !== 'hello') throw invalid(`${message.type} before hello`)
    const { client } = message
    const before = this.roster.linkOf(client)
    const part = this.admission.admit(message, before !== null)
    if (before) {
      this.lose(client, 'started again')
      void before.close('replaced', idInUse(client))
    }
    // Losing the old process may have ended the run.
    const { end } = this.rounds
    if (end) {
      void farewell(link, end)
      return null
    }
    this.warnOfStrangers()
    const { config, model, run } = this.options
    const limits = {
      max_chunk_bytes: config.transport.max_chunk_bytes,
      max_message_bytes: config.transport.max_inflight_bytes,
      heartbeat_s: 5,
    }
    this.roster.add(client, link)
    this.rounds.dispatch({ type: 'joined', client })
    this.observer.event({ event: 'join', client, round: this.round })
    this.roster.send(client, { type: 'welcome', protocol: PROTOCOL_VERSION, run, config: clientConfigOf(config), model, part, limits })
    return client
  }

  /** Once all have joined that can, a codec may turn out to be for nobody. */
  private warnOfStrangers(): void {
    const { split, transport } = this.options.config
    const joined = this.admission.clientsIfFull()
    if (this.hasLookedForStrangers || joined === null || split.topology !== 'split') return
    this.hasLookedForStrangers = true
    const known = new Set(joined)
    for (const key of ['activation_codec', 'gradient_codec'] as const)
      for (const client of clientsNamed(transport[key]).filter((named) => !known.has(named)))
        this.observer.event({ event: 'warning', reason: `transport.${key} names ${client}, and no client of this run is called so` })
  }

  private refuse(link: ServerLink, message: ClientMessage, cause: unknown): void {
    const error = asUserError(cause)
    this.noteRefusal(message.type === 'hello' ? message.client : null, error)
    void farewell(link, { reason: error.what, message: { type: 'refused', error: error.report() }, error })
  }

  /** Strangers can be refused as often as they knock, and must not fill the disk by it. */
  private noteRefusal(client: ClientId | null, error: UserError): void {
    if (this.refusals === MOST_REFUSALS_NOTED || this.rounds.end) return
    this.refusals++
    const reason = `${error.code}: ${error.why}`
    const last = this.refusals === MOST_REFUSALS_NOTED ? '; no further refusals are written down' : ''
    this.observer.event({ event: 'refused', client, round: this.round, reason: reason + last })
  }

  /** The client cannot go on; it is told why, and the run goes on without it. */
  private giveUp(client: ClientId, link: ServerLink | null, cause: unknown): void {
    if (link === null || this.roster.linkOf(client) !== link) return
    const error = asUserError(cause)
    this.observer.event({ event: 'refused', client, round: this.round, reason: `${error.code}: ${error.why}` })
    this.lose(client, error.why)
    void farewell(link, { reason: error.what, message: { type: 'error', error: error.report() }, error })
  }

  private lose(client: ClientId, reason: string): void {
    if (!this.roster.remove(client)) return
    this.codecs.forget(client)
    this.inflight.forget(client)
    this.observer.event({ event: 'leave', client, round: this.round, reason })
    this.rounds.dispatch({ type: 'lost', client, reason })
  }
}

function oldest(...rounds: readonly (number | null)[]): number | null {
  const known = rounds.filter((round) => round !== null)
  return known.length === 0 ? null : Math.min(...known)
}

function asUserError(error: unknown): UserError {
  return error instanceof UserError ? error : internalError('the server could not go on with this client', error)
}

function idInUse(client: ClientId): UserError {
  return new UserError({
    code: 'CLIENT_ID_IN_USE',
    what: `client ${client} is out of the run`,
    why: 'the same client joined again, as a new process',
    fix: 'leave it at that one; if it is another client of this machine, give each an id of its own',
  })
}
