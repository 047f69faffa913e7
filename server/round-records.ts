/**
 * @file What a run writes down: a line for each step and round, the traffic, and what happened to whom.
 */
import type { Config } from '../shared/config/schema.js'
import type { Traffic } from '../shared/protocol/link.js'
import type { ClientMessage, MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { placeOf, TrafficLedger, trafficKind } from '../shared/protocol/traffic.js'
import type { RoundClient, RoundLine, TrafficLine } from '../shared/run-records.js'
import type { Clock, RunObserver } from './observer.js'
import { RoundMetrics } from './round-metrics.js'
import type { ClientId, Member, Missing } from './round-state.js'
import type { StepSeen } from './step-engine.js'

interface InRound {
  readonly round: number
  readonly attempt: number
}

interface TopStepFacts extends InRound {
  readonly step: number
  readonly tokens: number
  readonly rate: number
  readonly gradNorm: number
}

export class RoundRecords {
  private readonly ledger = new TrafficLedger()
  private readonly counts = new Map<ClientId, NonNullable<Member['counts']>>()
  private metrics = new RoundMetrics()
  private startedAt: number
  private lastTrafficRound = -1
  /** When each client made its last step of the round. */
  private readonly lastSteps = new Map<ClientId, number>()
  /** The last attempt of each round whose traffic is not yet written. */
  private readonly attempts = new Map<number, number>()

  constructor(
    private readonly config: Config,
    private readonly strategy: string,
    private readonly observer: RunObserver,
    private readonly clock: Clock,
  ) {
    this.startedAt = clock.now()
  }

  /** What has crossed the links and is not written down yet. */
  get pendingTraffic(): TrafficLine[] {
    return [...this.attempts.keys()].sort((a, b) => a - b).flatMap((round) => this.ledger.lines(round))
  }

  /** Goes on behind a round whose line is written. @param traffic of it and later ones; none: it is written down, too. */
  resume(round: number, traffic: readonly TrafficLine[]): void {
    this.lastTrafficRound = traffic.length > 0 ? round - 1 : round
    for (const line of traffic) {
      this.ledger.restore(line)
      this.attempts.set(line.round, Math.max(line.attempt, this.attempts.get(line.round) ?? 0))
    }
  }

  /** Books a message that has crossed a client's link. */
  traffic(client: ClientId, message: ClientMessage | ServerMessage, traffic: Traffic, { round, attempt }: InRound): void {
    this.attempts.set(round, attempt)
    const place = placeOf(message, client, { round, attempt })
    // What is acknowledged after its round's lines are written, or names a round that is yet to come, counts where the run is.
    const isOpen = place.attempt <= (this.attempts.get(place.round) ?? -1)
    const booked = isOpen ? place : { client, round, attempt }
    this.ledger.add(booked, traffic)
    this.observer.work({ kind: 'message', traffic })
    if (message.type === 'gradients') this.ledger.addTensor(booked, traffic.direction, traffic.kind, message.hidden.shape)
  }

  /** The server has taken in a client's activations, whose shape is what it says. */
  taken(client: ClientId, message: MessageOf<'activations'>): void {
    const { round, attempt, hidden } = message
    this.ledger.addTensor({ client, round, attempt }, 'up', trafficKind(message), hidden.shape)
  }

  /** A client's own counts, which its lines show also after it has left. */
  introduce(client: ClientId, counts: NonNullable<Member['counts']>): void {
    this.counts.set(client, counts)
  }

  startRound(): void {
    this.metrics = new RoundMetrics()
    this.startedAt = this.clock.now()
    this.lastSteps.clear()
  }

  /** What a client's round is packed with. */
  packs(client: ClientId, codecs: NonNullable<RoundClient['codecs']>): void {
    this.metrics.packs(client, codecs)
  }

  /** What a client's activations and gradients of a round are as fp32. */
  cutFp32Bytes(client: ClientId, { round, attempt }: InRound): { readonly up: number; readonly down: number } {
    return this.ledger.cutFp32Bytes({ client, round, attempt })
  }

  /** Clients were asked to evaluate. Waiting for clients to join is no part of the evaluation before training. */
  startEvaluation(round: number): void {
    if (round === 0) this.startedAt = this.clock.now()
    this.metrics.startEvaluation()
  }

  /** @param seen what the server knows better than the report; null where the client made the step alone. */
  clientStep(client: ClientId, { round, attempt, step, lr, grad_norm, ...report }: MessageOf<'step'>, seen: StepSeen | null): void {
    const { nll, tokens, topGradNorm } = seen ?? { ...report, topGradNorm: null }
    this.metrics.step(client, nll, tokens)
    const now = this.clock.now()
    this.observer.work({ kind: 'step', seconds: (now - (this.lastSteps.get(client) ?? this.startedAt)) / 1000, tokens })
    this.lastSteps.set(client, now)
    if (!this.isLogged(step)) return
    const loss = nll === null || tokens === 0 ? null : nll / tokens
    const missing = Object.entries({ loss, grad_norm }).flatMap(([name, value]) =>
      value === null ? [`${name} is not a finite number`] : [],
    )
    const reason = missing.length > 0 ? { reason: missing.join('; ') } : {}
    this.observer.step({ round, attempt, step, client, loss, tokens, lr, grad_norm, top_grad_norm: topGradNorm, ...reason })
  }

  /** A joint top's own step. */
  topStep({ round, attempt, step, tokens, rate, gradNorm }: TopStepFacts): void {
    if (this.isLogged(step))
      this.observer.step({ round, attempt, step, client: null, loss: null, tokens, lr: rate, grad_norm: null, top_grad_norm: gradNorm })
  }

  reply(client: ClientId, { seconds }: MessageOf<'adapter'>): void {
    this.metrics.seconds(client, seconds)
  }

  evaluation(client: ClientId, { nll, tokens, bytes }: MessageOf<'evaluation'>): void {
    this.metrics.evaluation(client, { nll, tokens, bytes })
  }

  merged(round: number, replies: number, missing: readonly Missing[]): void {
    this.metrics.merge(replies, missing)
    for (const { client, reason } of missing) this.observer.event({ event: 'missing', client, round, reason })
  }

  /** Ends a round's books. @param isUnevaluated the run stops before the round's evaluation is through. @returns its line, which is told when its adapter is */
  roundOver(round: number, attempt: number, isUnevaluated = false): RoundLine {
    if (isUnevaluated) this.metrics.giveUpEvaluation()
    const now = this.clock.now()
    const line = this.metrics.line({
      round,
      attempt,
      seconds: (now - this.startedAt) / 1000,
      // Where every client keeps its own adapter there is neither.
      ...(this.config.split.topology === 'local'
        ? { strategy: 'none', weightBy: 'none' }
        : { strategy: this.strategy, weightBy: this.config.federation.weight_by }),
      counts: (client) => this.counts.get(client) ?? { examples: 0, tokens: 0 },
      bytes: (client) => this.ledger.wireBytes(round, client),
    })
    this.metrics = new RoundMetrics()
    this.startedAt = now
    this.writeTraffic(round - 1)
    return line
  }

  /** A round's traffic is complete once its last messages are through, which is when the next round is over, or the run. */
  writeTraffic(upTo: number): void {
    for (let round = this.lastTrafficRound + 1; round <= upTo; round++) {
      this.observer.traffic(this.ledger.lines(round))
      this.ledger.forget(round)
      this.attempts.delete(round)
      this.lastTrafficRound = round
    }
  }

  private isLogged(step: number): boolean {
    return (step + 1) % this.config.output.logging_steps === 0
  }
}
