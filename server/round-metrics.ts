/**
 * @file Gathers one round's numbers, and makes the lines of the run directory out of them.
 */
import type { RoundClient, RoundLine } from '../shared/run-records.js'
import { addSums, lossReport, type LossSums } from '../shared/train/metrics.js'
import { compareCodeUnits } from '../shared/compare.js'
import type { ClientId, Missing } from './round-state.js'

interface ClientNumbers {
  steps: number
  train: LossSums
  evaluation: LossSums | null
  seconds: RoundClient['seconds']
}

export interface RoundFacts {
  readonly round: number
  readonly attempt: number
  readonly seconds: number
  readonly strategy: string
  readonly weightBy: string
  counts(client: ClientId): { readonly examples: number; readonly tokens: number }
  bytes(client: ClientId): { readonly up: number; readonly down: number }
}

const NOTHING: LossSums = { nll: 0, tokens: 0, bytes: 0 }

export class RoundMetrics {
  private readonly clients = new Map<ClientId, ClientNumbers>()
  private readonly codecs = new Map<ClientId, NonNullable<RoundClient['codecs']>>()
  private isEvaluated = false
  private isGivenUp = false
  private merged: { replies: number; missing: readonly Missing[] } | null = null

  /** @param nll summed over the step's scored tokens; null when it is not a number. */
  step(client: ClientId, nll: number | null, tokens: number): void {
    const numbers = this.of(client)
    numbers.steps++
    numbers.train = addSums([numbers.train, { nll, tokens, bytes: 0 }])
  }

  seconds(client: ClientId, seconds: RoundClient['seconds']): void {
    this.of(client).seconds = seconds
  }

  packs(client: ClientId, codecs: NonNullable<RoundClient['codecs']>): void {
    this.codecs.set(client, codecs)
  }

  startEvaluation(): void {
    this.isEvaluated = true
  }

  /** The run stops before its evaluation is through: some clients' losses would not be the round's. */
  giveUpEvaluation(): void {
    this.isGivenUp = true
    for (const numbers of this.clients.values()) numbers.evaluation = null
  }

  evaluation(client: ClientId, sums: LossSums): void {
    this.of(client).evaluation = sums
  }

  merge(replies: number, missing: readonly Missing[]): void {
    this.merged = { replies, missing }
  }

  line(facts: RoundFacts): RoundLine {
    const entries = [...this.clients].sort(([a], [b]) => compareCodeUnits(a, b))
    const train = lossReport(addSums(entries.map(([, { train }]) => train)))
    const evaluated = entries.flatMap(([, { evaluation }]) => (evaluation ? [evaluation] : []))
    const evaluation = lossReport(addSums(evaluated))
    const reasons = [
      ...(facts.round > 0 && train.loss === null && train.reason ? [`train_loss: ${train.reason}`] : []),
      ...(evaluated.length > 0 && evaluation.reason ? [`eval_loss: ${evaluation.reason}`] : []),
      ...(evaluated.length === 0 && this.isEvaluated && !this.isGivenUp ? ['eval_loss: no client was in when the evaluation ended'] : []),
      ...(this.isGivenUp ? ['eval_loss: the run was stopped before its evaluation was through'] : []),
    ]
    return {
      round: facts.round,
      attempt: facts.attempt,
      train_loss: train.loss,
      eval_loss: evaluation.loss,
      eval_perplexity: evaluation.perplexity,
      eval_bits_per_byte: evaluation.bitsPerByte,
      seconds: facts.seconds,
      clients: entries.map(([id, numbers]) => {
        const { up, down } = facts.bytes(id)
        const { examples, tokens } = facts.counts(id)
        const codecs = this.codecs.get(id)
        return {
          id,
          examples,
          tokens,
          steps: numbers.steps,
          train_loss: lossReport(numbers.train).loss,
          eval_loss: numbers.evaluation && lossReport(numbers.evaluation).loss,
          seconds: numbers.seconds,
          uplink_bytes: up,
          downlink_bytes: down,
          ...(codecs ? { codecs } : {}),
        }
      }),
      aggregation: this.merged && {
        strategy: facts.strategy,
        weight_by: facts.weightBy,
        replies: this.merged.replies,
        missing: this.merged.missing.map(({ client }) => client),
        ...(this.merged.missing.length > 0
          ? { reasons: Object.fromEntries(this.merged.missing.map(({ client, reason }) => [client, reason])) }
          : {}),
      },
      ...(reasons.length > 0 ? { reason: reasons.join('; ') } : {}),
    }
  }

  private of(client: ClientId): ClientNumbers {
    const known = this.clients.get(client)
    if (known) return known
    const fresh: ClientNumbers = { steps: 0, train: NOTHING, evaluation: null, seconds: { compute: 0, wait: 0, network: 0 } }
    this.clients.set(client, fresh)
    return fresh
  }
}
