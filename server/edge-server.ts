/**
 * @file The edge server: feeds the round machine with what links deliver, and carries out what it asks for.
 *
 * It is the only place where the machine (round.ts), the top (top.ts), the strategy and the links meet. It opens no socket and no file.
 */
import { clientConfigOf, clientCount, type Config } from '../shared/config/schema.js'
import { UserError, unreachable } from '../shared/errors.js'
import type { Architecture } from '../shared/model/families/family.js'
import type { TopStage } from '../shared/model/stage.js'
import { encodeTensors } from '../shared/protocol/coded.js'
import { codecByName } from '../shared/protocol/codec/index.js'
import type { ServerLink } from '../shared/protocol/link.js'
import { PROTOCOL_VERSION, type ClientMessage, type MessageOf, type ModelCard, type ServerMessage } from '../shared/protocol/messages.js'
import { placeOf, TrafficLedger } from '../shared/protocol/traffic.js'
import { derive } from '../shared/random.js'
import type { F32Tensor, NamedTensors } from '../shared/tensor.js'
import { finiteOrNull } from '../shared/train/metrics.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { createOptimizer } from '../shared/train/optimizers.js'
import { scheduledRate } from '../shared/train/schedule.js'
import { Admission } from './admission.js'
import { invalid, readActivations, readAdapter, readMoments } from './inbox.js'
import { systemClock, type Clock, type RunObserver } from './observer.js'
import { RoundMetrics } from './round-metrics.js'
import { roundSettings } from './round-settings.js'
import type { ClientId, RoundEffect, RoundEvent, RoundState } from './round-state.js'
import { advanceRounds, initialRounds, isAwaited } from './round.js'
import type { AdapterReply, Strategy } from './strategy/strategy.js'
import { copyTensors, TopTrainer } from './top.js'

export interface EdgeServerOptions {
  readonly config: Config
  readonly run: string
  readonly model: ModelCard
  readonly architecture: Architecture
  /** The top from the cut on; null where clients hold the whole model. */
  readonly top: TopStage | null
  /** The whole adapter that training starts from. The top's part of it is the server's, all else the clients'. */
  readonly start: NamedTensors
  readonly strategy: Strategy
  readonly observer: RunObserver
  readonly token: string | null
  readonly clock?: Clock
}

/** A client that is connected. */
interface Connected {
  readonly link: ServerLink
  /** The last request it made and the answer, which a repeat gets again. */
  answered: { readonly request: string; readonly reply: ServerMessage } | null
  /** Micro-batches that wait for the engine. */
  readonly waiting: Map<string, MessageOf<'activations'>>
  /** Computed answers that wait for the machine's word. */
  readonly computed: Map<string, ServerMessage>
  update: { readonly adapter: Map<string, F32Tensor>; readonly moments: OptimizerState | null } | null
}

type Reports = Map<string, { readonly nll: number; readonly tokens: number; readonly topGradNorm: number | null }>

export class EdgeServer {
  /** Resolves when the run has finished, rejects with a UserError when it failed. */
  readonly finished: Promise<void>
  private readonly settings
  private readonly admission: Admission
  private readonly top: TopTrainer | null
  private readonly clock: Clock
  private readonly ledger = new TrafficLedger()
  private readonly clients = new Map<ClientId, Connected>()
  private readonly clientNames: readonly string[]
  private clientAdapter: Map<string, F32Tensor>
  private moments: OptimizerState | null = null
  /** The last round in which each client replied; where its kept moments are from. */
  private readonly keptRound = new Map<ClientId, number>()
  private state: RoundState = initialRounds()
  private metrics = new RoundMetrics()
  private readonly counts = new Map<ClientId, { examples: number; tokens: number }>()
  private roundStarted: number
  private lastTrafficRound = -1
  /** What the server itself saw of each client's step, until the client's report of it comes. */
  private reports: Reports = new Map()
  private engine: Promise<void> = Promise.resolve()
  private readonly timers = new Set<() => void>()
  private settleRun: { resolve(): void; reject(error: Error): void } = { resolve() {}, reject() {} }

  constructor(private readonly options: EdgeServerOptions) {
    const { config, top, start } = options
    this.settings = roundSettings(config)
    this.clock = options.clock ?? systemClock
    this.roundStarted = this.clock.now()
    const topNames = new Set(top?.adapterNames ?? [])
    const part = (isTop: boolean): Map<string, F32Tensor> =>
      copyTensors(new Map([...start].filter(([name]) => topNames.has(name) === isTop)))
    this.clientAdapter = part(false)
    this.clientNames = [...this.clientAdapter.keys()]
    this.top =
      top &&
      new TopTrainer({
        stage: top,
        start: part(true),
        replicated: config.federation.top === 'replicated',
        optimizerState: config.federation.optimizer_state,
        maxGradNorm: config.train.max_grad_norm,
        newOptimizer: (state) => createOptimizer(config.train, state),
      })
    this.admission = new Admission({
      token: options.token,
      clients: clientCount(config),
      codecs: [config.transport.activation_codec, config.transport.gradient_codec],
      undivided: config.split.topology === 'centralized',
    })
    this.finished = new Promise((resolve, reject) => (this.settleRun = { resolve, reject }))
    this.finished.catch(() => {}) // whoever awaits it hears of it; nobody has to
  }

  /** The current round, 0 before training. */
  get round(): number {
    return this.state.round
  }

  /** The whole adapter, both halves, as of the last finished round. */
  adapter(): Map<string, F32Tensor> {
    const halves = new Map<string, F32Tensor>([...this.clientAdapter, ...(this.top?.adapter ?? [])])
    return new Map([...this.options.start.keys()].map((name) => [name, halves.get(name)!]))
  }

  /** Takes over a link whose first message is the client's hello. */
  attach(link: ServerLink): void {
    let client: ClientId | null = null
    link.onTraffic((traffic, message) => {
      const id = client ?? (message.type === 'hello' ? message.client : null)
      if (id !== null) this.ledger.add(placeOf(message, id, this.state), traffic)
    })
    link.onMessage((message) => {
      try {
        if (client === null) {
          client = this.welcome(link, message)
        } else if (this.clients.get(client)?.link === link) {
          this.receive(client, message)
        }
      } catch (error) {
        this.refuse(link, client, error)
      }
    })
    link.onClose((reason) => {
      if (client !== null && this.clients.get(client)?.link === link) this.lose(client, reason)
    })
  }

  /** Ends the run before its time; clients are told why. The last finished round's adapter stays. */
  async stop(reason: string): Promise<void> {
    this.end(reason)
    for (const [id, { link }] of [...this.clients]) {
      await link.send({ type: 'finish', reason }).catch(() => {})
      this.clients.delete(id)
      await link.close(reason)
    }
  }

  // ---- joining

  private welcome(link: ServerLink, message: ClientMessage): ClientId {
    if (message.type !== 'hello') throw invalid(`${message.type} before hello`)
    const { config, model, run } = this.options
    const part = this.admission.admit(message)
    const { client } = message
    const before = this.clients.get(client)
    if (before) {
      this.lose(client, 'started again')
      void before.link.close('replaced', idInUse(client))
    }
    this.clients.set(client, { link, answered: null, waiting: new Map(), computed: new Map(), update: null })
    this.dispatch({ type: 'joined', client })
    this.options.observer.event({ event: 'join', client, round: this.state.round })
    this.send(client, {
      type: 'welcome',
      protocol: PROTOCOL_VERSION,
      run,
      config: clientConfigOf(config),
      model,
      part,
      limits: { max_chunk_bytes: config.transport.max_chunk_bytes, max_message_bytes: config.transport.max_inflight_bytes, heartbeat_s: 5 },
    })
    return client
  }

  private refuse(link: ServerLink, client: ClientId | null, error: unknown): void {
    const report = error instanceof UserError ? error : new UserError(internal(error))
    this.options.observer.event({ event: 'refused', client, round: this.state.round, reason: `${report.code}: ${report.why}` })
    if (client !== null) this.lose(client, report.why)
    const message: ServerMessage = client === null ? { type: 'refused', error: report.report() } : { type: 'error', error: report.report() }
    void link
      .send(message)
      .catch(() => {})
      .then(() => link.close(report.what, report))
  }

  private lose(client: ClientId, reason: string): void {
    if (!this.clients.delete(client)) return
    this.top?.discard(client)
    this.options.observer.event({ event: 'leave', client, round: this.state.round, reason })
    this.dispatch({ type: 'lost', client, reason })
  }

  // ---- messages

  private receive(client: ClientId, message: ClientMessage): void {
    const connected = this.clients.get(client)!
    switch (message.type) {
      case 'ready':
        this.counts.set(client, { examples: message.examples, tokens: message.tokens })
        return this.dispatch({
          type: 'ready',
          client,
          counts: { examples: message.examples, tokens: message.tokens, evalExamples: message.eval_examples },
        })
      case 'activations': {
        const request = requestKey(message)
        if (connected.answered?.request === request) return this.send(client, connected.answered.reply)
        if (message.purpose === 'evaluate') return this.evaluateBatch(client, message)
        // Late, repeated while it waits, or of a step that was dropped: the client has been or will be told.
        if (!isAwaited(this.state, { ...message, client })) return
        connected.waiting.set(request, message)
        return this.dispatch({ ...message, client })
      }
      case 'step':
        return this.reportStep(client, message)
      case 'adapter': {
        if (message.round !== this.state.round) return
        const adapter = readAdapter(message.adapter, this.clientAdapter)
        connected.update = { adapter, moments: message.moments && readMoments(message.moments, this.clientAdapter) }
        this.metrics.seconds(client, message.seconds)
        return this.dispatch({ type: 'adapter', client, round: message.round, attempt: message.attempt })
      }
      case 'evaluation':
        if (message.round !== this.state.round) return
        this.metrics.evaluation(client, { nll: message.nll, tokens: message.tokens, bytes: message.bytes })
        return this.dispatch({ type: 'evaluation', client, round: message.round, attempt: message.attempt })
      case 'error':
        this.options.observer.event({
          event: 'client-error',
          client,
          round: this.state.round,
          reason: `${message.error.code}: ${message.error.why}`,
        })
        return this.lose(client, `${message.error.what}: ${message.error.why}`)
      case 'heartbeat':
        return
      case 'hello':
        throw invalid('a second hello')
      default:
        return unreachable(`client message ${JSON.stringify(message)}`)
    }
  }

  private reportStep(client: ClientId, message: MessageOf<'step'>): void {
    const { round, attempt, step } = message
    if (round !== this.state.round) return
    const key = `${round}/${step}/${client}`
    const seen = this.reports.get(key)
    this.reports.delete(key)
    if (message.outcome === 'no-scored-tokens') {
      this.options.observer.event({ event: 'step-skipped', client, round, step, reason: 'no scored token' })
      return this.dispatch({ type: 'skipped', client, round, attempt, step })
    }
    const nll = seen?.nll ?? message.nll
    const tokens = seen?.tokens ?? message.tokens
    this.metrics.step(client, nll, tokens)
    if ((step + 1) % this.options.config.output.logging_steps !== 0) return
    this.options.observer.step({
      round,
      attempt,
      step,
      client,
      loss: nll === null ? null : nll / tokens,
      tokens,
      lr: message.lr,
      grad_norm: message.grad_norm,
      top_grad_norm: seen?.topGradNorm ?? null,
    })
  }

  /** One engine, one queue: what is asked for first is computed first. */
  private enqueue(client: ClientId, work: () => Promise<void>): void {
    const { link } = this.clients.get(client)!
    this.engine = this.engine.then(work).catch((error) => {
      if (this.clients.get(client)?.link === link) this.refuse(link, client, error)
    })
  }

  private evaluateBatch(client: ClientId, message: MessageOf<'activations'>): void {
    const { top } = this
    if (!top) throw invalid('activations, in a run where clients hold the whole model')
    const batch = readActivations(message, this.batchRules())
    this.enqueue(client, async () => {
      const nll = await top.evaluate(batch)
      const { round, attempt, step, micro } = message
      this.answer(client, message, { type: 'loss', round, attempt, step, micro, nll: finiteOrNull(nll), tokens: batch.targets.data.length })
    })
  }

  // ---- the machine and its effects

  private dispatch(event: RoundEvent): void {
    const { strategy, config } = this.options
    const { seed } = config.train
    const { state, effects } = advanceRounds(
      this.settings,
      {
        train: (ready, round) => strategy.selectTrain(ready, derive(seed, 'select-train', round)),
        evaluate: (ready, round) => strategy.selectEvaluate(ready, derive(seed, 'select-evaluate', round)),
      },
      this.state,
      event,
    )
    const before = this.state
    this.state = state
    for (const effect of effects) this.carryOut(effect, effect.type === 'round-over' ? before : this.state)
  }

  private carryOut(effect: RoundEffect, { round, attempt }: RoundState): void {
    switch (effect.type) {
      case 'evaluate':
        for (const client of effect.clients)
          this.send(client, {
            type: 'evaluate',
            round,
            attempt,
            adapter: encodeTensors(this.clientAdapter),
            max_batches: this.options.config.eval.max_eval_batches,
          })
        return
      case 'start-round':
        return this.startRound(effect.clients)
      case 'compute':
        return this.compute(effect.client, effect.step, effect.micro)
      case 'reply': {
        const connected = this.clients.get(effect.client)
        const key = requestKey({ ...effect, round, attempt, purpose: 'train' })
        const reply = connected?.computed.get(key)
        if (!connected || !reply) return
        connected.computed.delete(key)
        connected.answered = { request: key, reply }
        return this.send(effect.client, reply)
      }
      case 'discard':
        this.top?.discard(effect.client)
        this.clients.get(effect.client)?.waiting.clear()
        return
      case 'drop':
        this.options.observer.event({ event: 'deadline', client: effect.client, round, step: effect.step, reason: effect.reason })
        return this.send(effect.client, {
          type: 'dropped',
          round,
          attempt,
          step: effect.step,
          reason: effect.reason,
          next_step: effect.next,
        })
      case 'top-step':
        return this.topStep(effect.step, effect.clients)
      case 'merge':
        return this.merge(effect)
      case 'round-over':
        return this.roundOver(round, attempt)
      case 'timer': {
        const cancel = this.clock.after(effect.ms, () => {
          this.timers.delete(cancel)
          this.dispatch(effect.event)
        })
        this.timers.add(cancel)
        return
      }
      case 'finish':
        return void this.stop('the run has finished').then(() => this.settleRun.resolve())
      case 'fail': {
        const { error } = effect
        this.options.observer.event({ event: 'failed', round, reason: `${error.code}: ${error.why}` })
        return void this.stop(`${error.what}: ${error.why}`).then(() => this.settleRun.reject(error))
      }
      default:
        return unreachable(`effect ${JSON.stringify(effect)}`)
    }
  }

  private startRound(clients: readonly { client: ClientId; steps: number }[]): void {
    const { round, attempt, localSteps } = this.state
    const { federation } = this.options.config
    this.metrics = new RoundMetrics()
    this.reports = new Map()
    this.roundStarted = this.clock.now()
    this.top?.startRound(clients.map(({ client }) => client))
    const moments = this.moments && {
      updates: this.moments.updates,
      mean: encodeTensors(this.moments.mean),
      square: encodeTensors(this.moments.square),
    }
    for (const { client, steps } of clients) {
      const connected = this.clients.get(client)
      if (connected) {
        connected.update = null
        connected.waiting.clear()
        connected.computed.clear()
      }
      this.send(client, {
        type: 'round-start',
        round,
        attempt,
        adapter: encodeTensors(this.clientAdapter),
        moments,
        keep_from: federation.optimizer_state === 'keep' ? (this.keptRound.get(client) ?? null) : null,
        steps,
        position: (round - 1) * localSteps,
        positions: federation.num_rounds * localSteps,
        deadlines: { step_s: federation.step_deadline_s, round_s: federation.round_deadline_s },
      })
    }
  }

  private compute(client: ClientId, step: number, micro: number): void {
    const { config } = this.options
    const { round, attempt } = this.state
    const connected = this.clients.get(client)
    const key = requestKey({ round, attempt, step, micro, purpose: 'train' })
    const message = connected?.waiting.get(key)
    if (!connected || !message) return unreachable(`${client}'s micro-batch ${key} is gone`)
    const batch = readActivations(message, this.batchRules())
    this.enqueue(client, async () => {
      if (connected.waiting.get(key) !== message) return // dropped before its turn came
      const mask = { seed: config.train.seed, client, round, step, micro }
      const { gradient, nll, current } = await this.top!.compute(client, batch, message.normalizer, mask)
      if (!current()) return
      connected.waiting.delete(key)
      connected.computed.set(key, {
        type: 'gradients',
        round,
        attempt,
        step,
        micro,
        hidden: codecByName(config.transport.gradient_codec).encode(gradient.data, gradient.shape, { purpose: 'gradients' }),
        nll: finiteOrNull(nll),
        tokens: batch.targets.data.length,
      })
      if (micro + 1 === this.settings.accumulation) {
        const sums = this.top!.contribution(client)
        if (sums.tokens !== message.normalizer)
          throw invalid(`a normalizer of ${message.normalizer} for a step of ${sums.tokens} scored tokens`)
        this.reports.set(`${round}/${step}/${client}`, { nll: sums.nll, tokens: sums.tokens, topGradNorm: null })
      }
      this.dispatch({ type: 'computed', client, round, attempt, step, micro })
    })
  }

  private topStep(step: number, clients: readonly ClientId[]): void {
    const { round, attempt, localSteps } = this.state
    const { train, federation, output } = this.options.config
    const top = this.top ?? unreachable('a step without a top')
    const rate = scheduledRate(
      {
        type: train.lr_scheduler_type,
        learningRate: train.learning_rate,
        warmupRatio: train.warmup_ratio,
        positions: federation.num_rounds * localSteps,
      },
      (round - 1) * localSteps + step,
    )
    const tokens = clients.reduce((sum, client) => sum + top.contribution(client).tokens, 0)
    const { gradNorm } = top.step(clients, rate)
    if (federation.top === 'joint') {
      if ((step + 1) % output.logging_steps === 0)
        this.options.observer.step({
          round,
          attempt,
          step,
          client: null,
          loss: null,
          tokens,
          lr: rate,
          grad_norm: null,
          top_grad_norm: gradNorm,
        })
      return
    }
    const key = `${round}/${step}/${clients[0]}`
    const report = this.reports.get(key)
    if (report) this.reports.set(key, { ...report, topGradNorm: gradNorm })
  }

  private merge({ replies, missing }: Extract<RoundEffect, { type: 'merge' }>): void {
    const { strategy, config, observer } = this.options
    const { round } = this.state
    try {
      const weights = this.weightsOf(replies)
      const items: AdapterReply[] = replies.map((client, i) => {
        const { adapter, moments } = this.clients.get(client)?.update ?? unreachable(`${client}'s adapter is gone`)
        return { client, weight: weights[i], adapter, moments }
      })
      const merged = strategy.merge(items)
      this.clientAdapter = new Map(this.clientNames.map((name) => [name, merged.adapter.get(name)!]))
      this.moments = config.federation.optimizer_state === 'average' ? merged.moments : null
      this.top?.endRound(items)
      for (const client of replies) this.keptRound.set(client, round)
      this.metrics.merge(replies.length, missing)
      for (const { client, reason } of missing) observer.event({ event: 'missing', client, round, reason })
    } catch (error) {
      this.end(String(error))
      return void this.stop('the adapters could not be merged').then(() => this.settleRun.reject(error as Error))
    }
    void Promise.resolve(observer.adapter(round, this.adapter())).then(
      () => this.dispatch({ type: 'merged' }),
      (error: Error) => void this.stop('the adapter could not be saved').then(() => this.settleRun.reject(error)),
    )
  }

  /** p_k of each reply, which sum to one. */
  private weightsOf(replies: readonly ClientId[]): number[] {
    const { weight_by } = this.options.config.federation
    const sizes = replies.map((client) => (weight_by === 'uniform' ? 1 : this.counts.get(client)![weight_by]))
    const total = sizes.reduce((a, b) => a + b, 0)
    return sizes.map((size) => size / total)
  }

  private roundOver(round: number, attempt: number): void {
    const { strategy, config, observer } = this.options
    const now = this.clock.now()
    const line = this.metrics.line({
      round,
      attempt,
      seconds: (now - this.roundStarted) / 1000,
      strategy: strategy.name,
      weightBy: config.federation.weight_by,
      counts: (client) => this.counts.get(client) ?? { examples: 0, tokens: 0 },
      bytes: (client) => this.ledger.wireBytes(round, client),
    })
    this.roundStarted = now
    observer.round(line)
    this.metrics = new RoundMetrics()
    this.writeTraffic(round - 1)
    for (const client of this.clients.keys())
      this.send(client, { type: 'round-end', round, attempt, train_loss: line.train_loss, eval_loss: line.eval_loss })
  }

  /** A round's traffic is complete once its last messages are through, which is when the next round is over, or the run. */
  private writeTraffic(upTo: number): void {
    for (let round = this.lastTrafficRound + 1; round <= upTo; round++) {
      this.options.observer.traffic(this.ledger.lines(round))
      this.ledger.forget(round)
      this.lastTrafficRound = round
    }
  }

  // ---- the rest

  private batchRules() {
    const { architecture, config } = this.options
    return { architecture, maxRows: config.train.per_device_train_batch_size, codec: config.transport.activation_codec }
  }

  private answer(client: ClientId, request: MessageOf<'activations'>, reply: ServerMessage): void {
    const connected = this.clients.get(client)
    if (!connected) return
    connected.answered = { request: requestKey(request), reply }
    this.send(client, reply)
  }

  /** Sends to a client that may just be leaving; its link then closes, which is what counts. */
  private send(client: ClientId, message: ServerMessage): void {
    this.clients
      .get(client)
      ?.link.send(message)
      .catch((error: unknown) => {
        const connected = this.clients.get(client)
        if (connected && error instanceof UserError && error.code === 'MESSAGE_TOO_LARGE') this.refuse(connected.link, client, error)
      })
  }

  private end(reason: string): void {
    for (const cancel of this.timers) cancel()
    this.timers.clear()
    if (this.state.phase.kind !== 'finished') this.state = { ...this.state, phase: { kind: 'failed' } }
    this.options.observer.event({ event: 'end', round: this.state.round, reason })
    this.writeTraffic(this.state.round)
  }
}

function requestKey({
  round,
  attempt,
  step,
  micro,
  purpose,
}: {
  round: number
  attempt: number
  step: number
  micro: number
  purpose: string
}): string {
  return `${purpose}/${round}/${attempt}/${step}/${micro}`
}

function idInUse(client: ClientId): UserError {
  return new UserError({
    code: 'CLIENT_ID_IN_USE',
    what: `client ${client} is out of the run`,
    why: 'another process joined under the same id',
    fix: 'give each client an id of its own',
  })
}

function internal(error: unknown) {
  return {
    code: 'ROUND_FAILED' as const,
    what: 'the server could not go on with this client',
    why: error instanceof Error ? error.message : String(error),
    fix: "see the server's log",
  }
}
