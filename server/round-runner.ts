/**
 * @file Runs the round machine: feeds it events one at a time, carries out what it asks for, and ends the run once.
 */
import type { Config } from '../shared/config/schema.js'
import { UserError, unreachable } from '../shared/errors.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { derive } from '../shared/random.js'
import type { NamedTensors } from '../shared/tensor.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import { scheduledRate } from '../shared/train/schedule.js'
import type { ClientAdapters } from './client-adapters.js'
import type { ClientCodecs } from './client-codecs.js'
import type { Clock, RunObserver } from './observer.js'
import type { RoundRecords } from './round-records.js'
import type { ClientId, RoundEffect, RoundEvent, RoundSettings, RoundState, Selection } from './round-state.js'
import { activityOf } from './round-queries.js'
import type { Inflight } from './inflight.js'
import { internalError } from './internal-error.js'
import { firstRounds, type ResumeFrom } from './resume-from.js'
import { advanceRounds } from './round.js'
import { requestKey, type Roster } from './roster.js'
import type { SavedTop } from './saved-state.js'
import type { StepEngine } from './step-engine.js'
import type { Strategy } from './strategy/strategy.js'
import type { TopTrainer } from './top.js'

export interface RoundRunnerOptions {
  readonly config: Config
  readonly settings: RoundSettings
  readonly strategy: Strategy
  readonly roster: Roster
  readonly engine: StepEngine
  readonly codecs: ClientCodecs
  readonly top: TopTrainer | null
  readonly inflight: Inflight
  readonly adapters: ClientAdapters
  readonly records: RoundRecords
  /** Does not throw. */
  readonly observer: RunObserver
  readonly clock: Clock
  readonly trace?: Trace
  /** Where it goes on; from the beginning, unless given. */
  readonly resume?: ResumeFrom | undefined
  /** Takes what a round's end leaves, at once; what it returns writes it down. */
  readonly checkpoint?: ((state: RoundState) => () => Promise<void>) | undefined
  /** The oldest round of which a client may still be asked for the moments that it kept; null: none. */
  keptSince(client: ClientId): number | null
  /** The whole adapter, both halves; of a client where each has its own. */
  adapter(client: ClientId | null): NamedTensors
  /** What the client sent cannot be used, or the engine failed on it. */
  onUnusable(client: ClientId, link: ServerLink | null, error: unknown): void
}

/** How a run ended. */
export interface RunEnd {
  readonly reason: string
  /** What clients are told last. */
  readonly message: ServerMessage
  /** Of a run that failed. */
  readonly error: UserError | null
  /** Whether somebody waits for the end. */
  readonly isHurried?: boolean
}

export class RoundRunner {
  /** Resolves when the run has finished or was stopped, and all clients were told; rejects when it failed. */
  readonly finished: Promise<void>
  private current: RoundState
  private readonly selection: Selection
  private readonly events: RoundEvent[] = []
  private isBusy = false
  private readonly timers = new Set<() => void>()
  private lastActivity = ''
  private ended: RunEnd | null = null
  /** Why the run was asked to stop. */
  private stopReason: string | null = null
  private dismissed: Promise<void> = Promise.resolve()
  /** Adapters and lines of rounds are told one after the other. No step waits for it. */
  private told: Promise<void> = Promise.resolve()
  /** `restart_round`: the top as the round under way found it. */
  private topBefore: SavedTop | null = null
  /** What kept the last checkpoint from being written. */
  private unsaved: UserError | null = null
  private settle: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} }

  constructor(private readonly options: RoundRunnerOptions) {
    const { strategy, config } = options
    this.current = firstRounds(options.resume)
    const { seed } = config.train
    this.selection = {
      train: (ready, round) => strategy.selectTrain(ready, derive(seed, 'select-train', round), round),
      evaluate: (ready, round) => strategy.selectEvaluate(ready, derive(seed, 'select-evaluate', round), round),
    }
    this.finished = new Promise((resolve, reject) => (this.settle = { resolve, reject }))
    this.finished.catch(() => {}) // whoever awaits it hears of it; nobody has to
  }

  get state(): RoundState {
    return this.current
  }

  /** Ends a run at once whose rounds were all made before it was interrupted. */
  endIfThrough(): void {
    if (this.current.round > this.options.settings.rounds) void this.finish()
  }

  /** Whether there is a round, or an evaluation: what else goes over the wire should give way to it. */
  get isBusyWithClients(): boolean {
    const { kind } = this.current.phase
    return !this.ended && (kind === 'training' || kind === 'evaluating')
  }

  /** How the run ended; null while it goes on. */
  get end(): RunEnd | null {
    return this.ended
  }

  /** Optimizer updates that a client can have made by the end of this round. */
  get updatesSoFar(): number {
    return this.current.round * this.current.localSteps
  }

  /** Never throws: what goes wrong in carrying out an event ends the run. */
  dispatch(event: RoundEvent): void {
    this.events.push(event)
    // An effect that causes an event must not overtake the effects behind it.
    if (this.isBusy) return
    this.isBusy = true
    try {
      for (let next = this.events.shift(); next; next = this.events.shift()) this.advance(next)
    } catch (error) {
      void this.fail(error)
    } finally {
      this.isBusy = false
    }
  }

  /** Asks the run to end after the step under way; `finished` tells when it has. */
  stopAfterStep(reason: string): void {
    this.stopReason ??= reason
    this.dispatch({ type: 'stop' })
  }

  /** Ends the run at once, with the last finished round's adapter. Again, or after the end: waits for what is under way. */
  stop(reason: string): Promise<void> {
    // Who asked for it has no time to wait for clients whose connection is broken.
    const isHurried = this.stopReason !== null
    const message = { type: 'finish' as const, reason: reason.slice(0, 1024), complete: false }
    return this.close({ reason, message, error: null, isHurried })
  }

  /** All rounds are made. Clients then let go of what they keep for the run, so its last checkpoint comes before they hear of it. */
  private finish(): Promise<void> {
    const reason = 'the run has finished'
    return this.close({ reason, message: { type: 'finish', reason, complete: true }, error: null })
  }

  /** Ends the run with an error, which clients are told and `finished` rejects with. */
  fail(error: unknown): Promise<void> {
    const told = error instanceof UserError ? error : internalError('the run could not go on', error)
    return this.close({ reason: told.message, message: { type: 'error', error: told.report() }, error: told }, error)
  }

  /** @param cause what `finished` rejects with, of a run that failed */
  private close(end: RunEnd, cause?: unknown): Promise<void> {
    if (this.ended) return this.dismissed
    this.ended = end
    const { observer, roster, records } = this.options
    const { round } = this.current
    for (const cancel of this.timers) cancel()
    this.timers.clear()
    this.events.length = 0
    if (end.error) observer.event({ event: 'failed', round, reason: `${end.error.code}: ${end.error.why}` })
    observer.event({ event: 'end', round, reason: end.reason })
    const isComplete = end.message.type === 'finish' && end.message.complete
    this.dismissed = (isComplete ? this.told : Promise.resolve())
      .then(() => Promise.all([roster.dismiss(this.unsaved === null ? end : { ...end, message: notComplete(end) }), this.told]))
      .then(() => {
        records.writeTraffic(round)
        if (end.error) this.settle.reject(cause)
        else if (this.unsaved === null) this.settle.resolve()
        else this.settle.reject(this.unsaved)
      })
    return this.dismissed
  }

  private advance(event: RoundEvent): void {
    if (this.ended) return
    const before = this.current
    const { state, effects } = advanceRounds(this.options.settings, this.selection, before, event)
    this.current = state
    // A round that is over is the one before: the machine may have begun the next.
    for (const effect of effects) if (!this.ended) this.carryOut(effect, isOfRoundBefore(effect) ? before : state)
    if (!this.ended) this.options.inflight.grantWhatFits()
    this.tellActivity()
  }

  private tellActivity(): void {
    const { settings, observer } = this.options
    const activity = this.ended ? null : activityOf(settings, this.current)
    const text = JSON.stringify(activity)
    if (!activity || text === this.lastActivity) return
    this.lastActivity = text
    observer.activity(activity)
  }

  private carryOut(effect: RoundEffect, before: RoundState): void {
    const { round, attempt } = before
    const { config, roster, engine, codecs, inflight, adapters, records, observer, clock } = this.options
    switch (effect.type) {
      case 'evaluate': {
        if (!effect.again) records.startEvaluation(round)
        const ask_first = effect.again ? inflight.asksFirst : inflight.begin(this.isSplit ? effect.clients.length : 0)
        for (const client of effect.clients)
          roster.send(client, {
            type: 'evaluate',
            round,
            attempt,
            adapter: adapters.codedOf(client),
            codecs: this.isSplit ? codecs.forEvaluation(client) : null,
            max_batches: config.eval.max_eval_batches,
            ask_first,
          })
        return
      }
      case 'skip-evaluation':
        return observer.event({ event: 'deadline', client: effect.client, round, reason: effect.reason })
      case 'restart-round':
        return this.restartRound(effect)
      case 'start-round':
        return this.startRound(effect.clients)
      case 'compute': {
        const place = { client: effect.client, round, attempt, step: effect.step, micro: effect.micro }
        const link = roster.linkOf(effect.client)
        const batch = { purpose: 'train' as const, ...place }
        inflight.computing(effect.client, batch)
        engine
          .compute(place)
          .then(
            (isDone) => isDone && this.dispatch({ type: 'computed', ...place }),
            (error: unknown) => this.options.onUnusable(effect.client, link, error),
          )
          .finally(() => inflight.release(effect.client, batch))
        return
      }
      case 'reply': {
        const { client, step, micro } = effect
        const reply = engine.answer({ client, round, attempt, step, micro })
        return roster.answer(client, requestKey({ purpose: 'train', ...reply }), reply)
      }
      case 'discard':
        inflight.forget(effect.client, effect.step)
        return engine.discard(effect)
      case 'drop': {
        const { client, step, reason, next } = effect
        inflight.forget(client, step)
        observer.event({ event: 'deadline', client, round, step, reason })
        return roster.send(client, { type: 'dropped', round, attempt, step, reason, next_step: next })
      }
      case 'top-step':
        return this.topStep(effect.step, effect.clients)
      case 'merge':
        return this.merge(effect)
      case 'round-over': {
        const line = records.roundOver(round, attempt, effect.isUnevaluated)
        const write = round === 0 || effect.isUnevaluated ? undefined : this.options.checkpoint?.(before)
        this.tell(() => observer.round(line))
        if (write) this.tell(() => write().catch((error: unknown) => this.notSaved(error)))
        const { train_loss, eval_loss } = line
        roster.forgetAnswers()
        for (const client of roster.ids) roster.send(client, { type: 'round-end', round, attempt, train_loss, eval_loss })
        return
      }
      case 'timer': {
        const cancel = clock.after(effect.ms, () => {
          this.timers.delete(cancel)
          this.dispatch(effect.event)
        })
        this.timers.add(cancel)
        return
      }
      case 'finish':
        return void (this.stopReason === null ? this.finish() : this.stop(this.stopReason))
      case 'fail':
        return void this.fail(effect.error)
      default:
        return unreachable(`effect ${JSON.stringify(effect)}`)
    }
  }

  /** Clients that are still there hear of it by the next attempt's start, once all are back. */
  private restartRound({ attempt, client, reason }: Extract<RoundEffect, { type: 'restart-round' }>): void {
    const { engine, inflight, top, adapters, observer } = this.options
    engine.startRound()
    inflight.begin(0)
    adapters.startRound()
    if (this.topBefore) top?.restore(this.topBefore)
    const why = client === null ? reason : `${client} was lost: ${reason}`
    observer.event({ event: 'restart', round: this.current.round, attempt, reason: why })
  }

  private startRound(clients: readonly { readonly client: ClientId; readonly steps: number }[]): void {
    const { config, settings, roster, engine, inflight, top, adapters, records } = this.options
    const { round, attempt, localSteps } = this.current
    const { num_rounds, step_deadline_s, round_deadline_s } = config.federation
    records.startRound()
    engine.startRound()
    adapters.startRound()
    // A joint or sequential top is trained in place.
    if (settings.onClientLoss === 'restart_round') this.topBefore = top?.save() ?? null
    top?.startRound(clients.map(({ client }) => client))
    const ask_first = inflight.begin(this.options.settings.remoteSteps ? clients.length : 0)
    for (const { client, steps } of clients) {
      // Who trains for itself alone has a schedule as long as its own rounds, whoever else is there.
      const scheduled = config.split.topology === 'local' ? steps : localSteps
      roster.send(client, {
        type: 'round-start',
        round,
        attempt,
        ...adapters.startOf(client),
        keep_since: config.federation.optimizer_state === 'keep' ? (this.options.keptSince(client) ?? round) : null,
        steps,
        position: (round - 1) * scheduled,
        positions: num_rounds * scheduled,
        codecs: this.codecsFor(client),
        deadlines: { step_s: step_deadline_s, round_s: round_deadline_s },
        ask_first,
      })
    }
  }

  /** What the client's round is packed with; null where no tensors of the cut cross. */
  private codecsFor(client: ClientId): MessageOf<'round-start'>['codecs'] {
    if (!this.isSplit) return null
    const { codecs, records, observer } = this.options
    const { round } = this.current
    const { names, uses, isChanged } = codecs.startRound(client, round)
    records.packs(client, uses)
    const reason = `activations by ${names.activations}, gradients by ${names.gradients}`
    if (isChanged) observer.event({ event: 'codecs', client, round, ...names, reason })
    return names
  }

  private get isSplit(): boolean {
    return this.options.settings.remoteSteps
  }

  private topStep(step: number, clients: readonly ClientId[]): void {
    const { config, engine, records } = this.options
    const { round, attempt, localSteps } = this.current
    const { lr_scheduler_type: type, learning_rate: learningRate, warmup_ratio: warmupRatio } = config.train
    const positions = config.federation.num_rounds * localSteps
    const rate = scheduledRate({ type, learningRate, warmupRatio, positions }, (round - 1) * localSteps + step)
    const end = (this.options.trace ?? silentTrace).begin('server', 'optimizer', { round, step })
    const { gradNorm, tokens } = engine.step(step, clients, rate)
    end()
    // Sequential and replicated: the norm stands in the client's own line.
    if (config.federation.top === 'joint') records.topStep({ round, attempt, step, tokens, rate, gradNorm })
  }

  private merge({ replies, missing }: Extract<RoundEffect, { type: 'merge' }>): void {
    const { adapters, top, records, observer, trace = silentTrace } = this.options
    const { round } = this.current
    const end = trace.begin('server', 'aggregate', { round, replies: replies.length })
    const { changed, merged } = adapters.endRound(round, replies)
    top?.endRound(merged)
    end()
    records.merged(round, replies.length, missing)
    const changes = changed.map((client) => ({ client, adapter: this.options.adapter(client) }))
    const before = this.told
    this.tell(() => Promise.all(changes.map(async ({ client, adapter }) => observer.adapter(round, adapter, client))))
    // Only adapters of the round before are waited for, if at all: they must not pile up where the disk is slower than a round.
    void before.then(() => this.dispatch({ type: 'merged' }))
  }

  private notSaved(error: unknown): void {
    this.unsaved = error instanceof UserError ? error : internalError('the checkpoint could not be written', error)
    void this.fail(this.unsaved)
  }

  /** Whom it is told does not throw. */
  private tell(tell: () => unknown): void {
    this.told = this.told.then(async () => void (await tell()))
  }
}

/** What clients keep is not to go when there is no checkpoint after which it is not needed. */
function notComplete({ reason }: RunEnd): ServerMessage {
  return { type: 'finish', reason, complete: false }
}

function isOfRoundBefore({ type }: RoundEffect): boolean {
  return type === 'round-over' || type === 'skip-evaluation'
}
