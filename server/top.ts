/**
 * @file Trains the top: keeps its adapter and optimizer, gathers what clients' micro-batches give it, and makes its steps.
 */
import type { TopBatch, TopResult, TopStage } from '../shared/model/stage.js'
import { unreachable } from '../shared/errors.js'
import { f32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import { clipGradients } from '../shared/train/clip.js'
import type { MaskKey } from '../shared/train/dropout.js'
import type { Optimizer, OptimizerState } from '../shared/train/optimizer.js'
import { allFinite, notFinite } from './invalid.js'
import { averagedMoments } from './strategy/fedavg.js'
import { weightedMean } from './strategy/mean.js'
import type { SavedTop } from './saved-state.js'
import type { ClientId } from './strategy/strategy.js'

export interface TopOptions {
  readonly stage: TopStage
  readonly start: NamedTensors
  /** `replicated`: every client has a copy of its own. */
  readonly replicated: boolean
  readonly optimizerState: 'average' | 'reset' | 'keep'
  readonly maxGradNorm: number
  newOptimizer(state: OptimizerState | null): Optimizer
}

/** An adapter being trained. */
interface Replica {
  readonly adapter: Map<string, F32Tensor>
  readonly optimizer: Optimizer
}

/** What one client's micro-batches of one step have given so far. */
interface Contribution {
  readonly grads: Map<string, F32Tensor>
  nll: number
  tokens: number
}

/** What the top answers to a micro-batch. */
export interface TopAnswer {
  readonly gradient: F32Tensor
  readonly nll: number
  /** False once the step was dropped, or its client lost. */
  isCurrent(): boolean
}

export interface TopStep {
  /** Before clipping. */
  readonly gradNorm: number
  /** Scored tokens that the step saw. */
  readonly tokens: number
}

export class TopTrainer {
  private shared: Replica
  private readonly replicas = new Map<ClientId, Replica>()
  /** Moments that replicas keep from round to round (`optimizer_state: keep`). */
  private readonly kept = new Map<ClientId, OptimizerState>()
  private averaged: OptimizerState | null = null
  /** By step and client: a client that waits for the others of a step may already have begun the next. */
  private readonly contributions = new Map<string, Contribution>()

  constructor(private readonly options: TopOptions) {
    this.shared = this.replica(options.start, null)
  }

  /** The top's adapter as of the last step, or round for replicas. */
  get adapter(): NamedTensors {
    return this.shared.adapter
  }

  /** Micro-batches, each of another client, that may be computed at the same time. */
  get atOnce(): number {
    return this.options.stage.atOnce
  }

  /** Gives each client its copy. Only a replicated top has any. */
  startRound(clients: readonly ClientId[]): void {
    this.contributions.clear()
    this.replicas.clear()
    if (!this.options.replicated) return
    for (const client of clients) this.replicas.set(client, this.replica(this.shared.adapter, this.startState(client)))
  }

  /**
   * Forward, loss and backward of one micro-batch; its gradient of the top's adapter waits for `step`.
   * @returns dLoss/dZ, f32 [tokens, hidden], and the summed plain nll.
   * @throws UserError MESSAGE_INVALID if the top has no finite gradient for it: it must not reach the top's step.
   */
  async compute(client: ClientId, batch: TopBatch, normalizer: number, key: MaskKey): Promise<TopAnswer> {
    const place = placeOf(client, key.step)
    const contribution = this.contributions.get(place) ?? { grads: new Map(), nll: 0, tokens: 0 }
    this.contributions.set(place, contribution)
    const { gradient, nll, grads } =
      batch.targets.data.length === 0
        ? nothingScored(batch)
        : await this.options.stage.train(batch, normalizer, this.of(client).adapter, key)
    // A step that was dropped meanwhile has no use for what this run gave.
    const isCurrent = (): boolean => this.contributions.get(place) === contribution
    if (isCurrent()) {
      checkFinite(grads)
      addInto(contribution.grads, grads)
      contribution.nll += nll
      contribution.tokens += batch.targets.data.length
    }
    return { gradient: gradient ?? unreachable('a top without a cut'), nll, isCurrent }
  }

  /** What a client's step came to, before `step` uses it up. */
  contribution(client: ClientId, step: number): { readonly nll: number; readonly tokens: number } {
    return this.contributions.get(placeOf(client, step)) ?? unreachable(`${client} gave nothing to step ${step}`)
  }

  /** Forgets what a client gave to a step that it will not finish. */
  discard(client: ClientId, step: number): void {
    this.contributions.delete(placeOf(client, step))
  }

  /**
   * One optimizer step: of the client's own copy if replicated, else of the one top with the mean of the clients' gradients, weighted by their
   * scored tokens of the step and added in the order given. An adapter without tensors (the cut is after the last block) has nothing to step.
   */
  step(step: number, clients: readonly ClientId[], rate: number): TopStep {
    const items = clients.map((client) => {
      const place = placeOf(client, step)
      const { grads, tokens } = this.contributions.get(place) ?? unreachable(`${client} gave nothing to step ${step}`)
      this.contributions.delete(place)
      return { client, weight: tokens, tensors: grads }
    })
    const grads = items.length === 1 ? items[0].tensors : weightedMean(items)
    const { adapter, optimizer } = this.of(clients[0])
    const gradNorm = clipGradients(grads, this.options.maxGradNorm)
    if (adapter.size > 0) optimizer.step(adapter, grads, rate)
    return { gradNorm, tokens: items.reduce((sum, { weight }) => sum + weight, 0) }
  }

  /** Summed plain nll of a batch under the current adapter. */
  async evaluate(batch: TopBatch): Promise<number> {
    return batch.targets.data.length === 0 ? 0 : this.options.stage.evaluate(batch, this.shared.adapter)
  }

  /** Averages the copies of the clients that replied, as the clients' own adapters are. A shared top stays as it is. */
  endRound(replies: readonly { readonly client: ClientId; readonly weight: number }[]): void {
    if (!this.options.replicated) return
    const items = replies.map(({ client, weight }) => ({
      client,
      weight,
      replica: this.replicas.get(client) ?? unreachable(`${client} has no copy`),
    }))
    const adapter = weightedMean(items.map(({ client, weight, replica }) => ({ client, weight, tensors: replica.adapter })))
    this.averaged =
      this.options.optimizerState === 'average'
        ? averagedMoments(items.map(({ client, weight, replica }) => ({ client, weight, moments: replica.optimizer.state })))
        : null
    if (this.options.optimizerState === 'keep')
      for (const { client, replica } of items) if (replica.optimizer.state) this.kept.set(client, replica.optimizer.state)
    this.shared = { adapter, optimizer: this.shared.optimizer }
  }

  /** A copy of what lasts from round to round: the next step changes it in place. */
  save(): SavedTop {
    const { replicated } = this.options
    const moments = replicated ? this.averaged : this.shared.optimizer.state
    return { adapter: copyTensors(this.shared.adapter), moments: moments && copyState(moments), kept: new Map(this.kept) }
  }

  /** Goes back to what was saved, and forgets what it was doing. */
  restore({ adapter, moments, kept }: SavedTop): void {
    const { replicated } = this.options
    this.contributions.clear()
    this.replicas.clear()
    this.shared = this.replica(adapter, replicated ? null : moments)
    this.averaged = replicated ? moments : null
    this.kept.clear()
    for (const [client, state] of kept) this.kept.set(client, state)
  }

  private startState(client: ClientId): OptimizerState | null {
    return this.options.optimizerState === 'keep' ? (this.kept.get(client) ?? null) : this.averaged
  }

  private of(client: ClientId): Replica {
    return this.options.replicated ? (this.replicas.get(client) ?? unreachable(`${client} has no copy`)) : this.shared
  }

  private replica(adapter: NamedTensors, state: OptimizerState | null): Replica {
    return { adapter: copyTensors(adapter), optimizer: this.options.newOptimizer(state && copyState(state)) }
  }
}

/** Tensors with memory of their own. */
export function copyTensors(tensors: NamedTensors): Map<string, F32Tensor> {
  return new Map([...tensors].map(([name, { shape, data }]) => [name, f32(shape, data.slice())]))
}

export function copyState({ updates, mean, square }: OptimizerState): OptimizerState {
  return { updates, mean: copyTensors(mean), square: copyTensors(square) }
}

function addInto(sums: Map<string, F32Tensor>, more: NamedTensors): void {
  for (const [name, { shape, data }] of more) {
    const sum = sums.get(name)
    if (!sum) sums.set(name, f32(shape, data.slice()))
    else for (let i = 0; i < data.length; i++) sum.data[i] += data[i]
  }
}

function placeOf(client: ClientId, step: number): string {
  return `${step}/${client}`
}

/** A micro-batch without scored tokens, of a step that has some, moves nothing. */
function nothingScored({ hidden }: TopBatch): TopResult {
  const { shape, data } = hidden ?? unreachable('a micro-batch without activations')
  return { nll: 0, gradient: f32(shape, new Float32Array(data.length)), grads: new Map() }
}

function checkFinite(grads: NamedTensors): void {
  for (const [name, { data }] of grads) if (!allFinite(data)) throw notFinite(`activations for which the gradient of ${name} is not finite`)
}
