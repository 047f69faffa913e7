/**
 * @file Runs the top on what clients send, in as many places as it has: what is asked for first is begun first.
 */
import type { Config } from '../shared/config/schema.js'
import { unreachable } from '../shared/errors.js'
import type { Architecture } from '../shared/model/families/family.js'
import type { TopBatch } from '../shared/model/stage.js'
import type { TrackedRows } from '../shared/protocol/cut/rows.js'
import type { ServerCut } from '../shared/protocol/cut/server-cut.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import { finiteOrNull } from '../shared/train/metrics.js'
import { roundingStream } from '../shared/protocol/rounding.js'
import { silentTrace, type EndSpan, type Trace } from '../shared/trace.js'
import { Turns } from '../shared/turns.js'
import type { ClientCuts } from './client-cuts.js'
import { readActivations, type ReadBatch } from './inbox.js'
import { invalid } from './invalid.js'
import { systemClock, type Clock, type Work } from './observer.js'
import type { ClientId } from './round-state.js'
import type { TopTrainer } from './top.js'

export interface StepEngineOptions {
  readonly config: Config
  readonly architecture: Architecture
  /** null where clients hold the whole model. */
  readonly top: TopTrainer | null
  readonly cuts: ClientCuts
  readonly trace?: Trace
  /** Needed by `onWork`. */
  readonly clock?: Clock
  /** Hears of each micro-batch that was computed. */
  onWork?(work: Extract<Work, { kind: 'micro-batch' }>): void
}

/** Which micro-batch of a round. */
export interface MicroBatch {
  readonly client: ClientId
  readonly round: number
  readonly attempt: number
  readonly step: number
  readonly micro: number
}

type StepPlace = Pick<MicroBatch, 'client' | 'step'>

/** What the server itself saw of a client's step. */
export interface StepSeen {
  /** Summed over its scored tokens, nats. */
  readonly nll: number
  readonly tokens: number
  /** Of the top's own step with it, before clipping; null where the top is joint. */
  readonly topGradNorm: number | null
}

interface Waiting {
  readonly batch: TopBatch
  readonly normalizer: number
  /** Where it came from, and what its answer goes by. */
  readonly cut: ServerCut
  readonly rows: TrackedRows | null
}

export class StepEngine {
  private readonly turns: Turns
  private readonly waiting = new Map<string, Waiting>()
  private readonly answers = new Map<string, MessageOf<'gradients'>>()
  private readonly seen = new Map<string, StepSeen>()
  /** Of the steps that have begun: all micro-batches of one are divided by the same. */
  private readonly normalizers = new Map<string, number>()

  private readonly trace: Trace

  constructor(private readonly options: StepEngineOptions) {
    this.trace = options.trace ?? silentTrace
    this.turns = new Turns(options.top?.atOnce ?? 1)
  }

  /** How many micro-batches wait for their turn. */
  get queueLength(): number {
    return this.turns.length
  }

  /** Forgets what the last round left. */
  startRound(): void {
    this.waiting.clear()
    this.answers.clear()
    this.seen.clear()
    this.normalizers.clear()
  }

  /**
   * Reads a micro-batch, which then waits for `compute`.
   * @returns false if it has to come again, whole; nothing has changed then.
   * @throws UserError MESSAGE_INVALID
   */
  take(client: ClientId, message: MessageOf<'activations'>): boolean {
    const { step, normalizer } = message
    const before = this.normalizers.get(stepKey({ client, step })) ?? normalizer
    if (normalizer !== before) throw invalid(`normalizers of ${before} and ${normalizer} in one step`)
    const cut = this.options.cuts.of(client)
    const taken = this.read(cut, message)
    if (!taken) return false
    taken.read.keep()
    this.waiting.set(microKey({ ...message, client }), { batch: taken.batch, normalizer, cut, rows: taken.read.rows })
    this.normalizers.set(stepKey({ client, step }), normalizer)
    return true
  }

  /**
   * Runs the top on a micro-batch when its turn comes.
   * @returns whether it was computed; false if its step was given up before.
   * @throws UserError MESSAGE_INVALID if its numbers cannot be used, Error if the engine fails.
   */
  compute(place: MicroBatch): Promise<boolean> {
    const key = microKey(place)
    const given = this.waiting.get(key) ?? unreachable(`micro-batch ${key} is gone`)
    const { client, round, attempt, step, micro } = place
    const endWait = this.trace.begin('server queue', `queued: ${client}`, { round, step, micro })
    const work = async (): Promise<boolean> => {
      if (this.waiting.get(key) !== given) return false
      const { config } = this.options
      const { seed } = config.train
      const { batch, normalizer, cut, rows } = given
      const mask = { seed, client, round, step, micro }
      const { gradient, nll, isCurrent } = await this.top().compute(client, batch, normalizer, mask)
      if (!isCurrent()) return false
      this.waiting.delete(key)
      this.answers.set(key, {
        type: 'gradients',
        round,
        attempt,
        step,
        micro,
        ...cut.answer(gradient, rows, roundingStream(mask, 'gradients')),
        nll: finiteOrNull(nll),
        tokens: batch.targets.data.length,
      })
      if (micro + 1 === config.train.gradient_accumulation_steps) this.closeClientStep(place, normalizer)
      return true
    }
    return this.enqueue('train', endWait, () => this.trace.beginStep('server', `top: ${client}`, { round, step, micro }), work)
  }

  /** The loss of a held-out batch. @throws UserError MESSAGE_INVALID at once if it cannot be read. */
  evaluate(client: ClientId, message: MessageOf<'activations'>): Promise<MessageOf<'loss'>> {
    const { batch } = this.read(this.options.cuts.of(client), message) ?? unreachable('a held-out batch that is told against others')
    const { round, attempt, step, micro } = message
    const endWait = this.trace.begin('server queue', 'queued: evaluation', { round, step })
    const work = async (): Promise<MessageOf<'loss'>> => {
      const nll = await this.top().evaluate(batch)
      return { type: 'loss', round, attempt, step, micro, nll: finiteOrNull(nll), tokens: batch.targets.data.length }
    }
    return this.enqueue('evaluate', endWait, () => this.trace.begin('server', 'evaluate', { round, step }), work)
  }

  /** Hands out a computed answer, once. */
  answer(place: MicroBatch): MessageOf<'gradients'> {
    const key = microKey(place)
    const answer = this.answers.get(key) ?? unreachable(`the answer to micro-batch ${key} is gone`)
    this.answers.delete(key)
    return answer
  }

  /** Forgets what a client gave to a step that it will not finish. */
  discard(place: StepPlace): void {
    this.options.top?.discard(place.client, place.step)
    this.normalizers.delete(stepKey(place))
    for (const kept of [this.waiting, this.answers])
      for (const key of kept.keys()) if (key.startsWith(`${stepKey(place)}/`)) kept.delete(key)
  }

  /** One step of the top with what these clients gave. @returns the norm of its gradient before clipping, and its scored tokens. */
  step(step: number, clients: readonly ClientId[], rate: number): { readonly gradNorm: number; readonly tokens: number } {
    const made = this.top().step(step, clients, rate)
    const seen = this.options.config.federation.top === 'joint' ? undefined : this.seen.get(stepKey({ client: clients[0], step }))
    if (seen) this.seen.set(stepKey({ client: clients[0], step }), { ...seen, topGradNorm: made.gradNorm })
    return made
  }

  /** What the server saw of a client's step, once: null for one that was not computed here, or was reported before. */
  takeSeen(place: StepPlace): StepSeen | null {
    const seen = this.seen.get(stepKey(place)) ?? null
    this.seen.delete(stepKey(place))
    return seen
  }

  private closeClientStep({ client, step }: StepPlace, normalizer: number): void {
    const { nll, tokens } = this.top().contribution(client, step)
    this.normalizers.delete(stepKey({ client, step }))
    if (tokens !== normalizer) throw invalid(`a normalizer of ${normalizer} for a step of ${tokens} scored tokens`)
    this.seen.set(stepKey({ client, step }), { nll, tokens, topGradNorm: null })
  }

  private read(cut: ServerCut, message: MessageOf<'activations'>): ReadBatch | null {
    const { architecture, config } = this.options
    return readActivations(message, { architecture, maxRows: config.train.per_device_train_batch_size, cut })
  }

  private top(): TopTrainer {
    return this.options.top ?? unreachable('a run where clients hold the whole model has no top')
  }

  private enqueue<Result>(
    purpose: 'train' | 'evaluate',
    endWait: EndSpan,
    begin: () => EndSpan,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const { clock = systemClock, onWork } = this.options
    const askedAt = clock.now()
    return this.turns.take(async () => {
      endWait()
      const end = begin()
      const begunAt = clock.now()
      try {
        const result = await work()
        // A step that was given up while it waited is no work.
        if (result !== false)
          onWork?.({
            kind: 'micro-batch',
            purpose,
            queuedSeconds: (begunAt - askedAt) / 1000,
            computeSeconds: (clock.now() - begunAt) / 1000,
          })
        return result
      } finally {
        end()
      }
    })
  }
}

function stepKey({ client, step }: StepPlace): string {
  return `${client}/${step}`
}

function microKey(place: MicroBatch): string {
  return `${stepKey(place)}/${place.round}/${place.attempt}/${place.micro}`
}
