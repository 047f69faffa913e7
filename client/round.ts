/**
 * @file A client's round: its local steps from the round's start to its adapter, and the evaluation of its held-out rows.
 */
import type { ClientConfig } from '../shared/config/schema.js'
import { UserError } from '../shared/errors.js'
import { decodeTensors, encodeTensors } from '../shared/protocol/coded.js'
import type { CodedMoments, MessageOf } from '../shared/protocol/messages.js'
import { f32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import type { Trace } from '../shared/trace.js'
import { clipGradients } from '../shared/train/clip.js'
import type { Batch } from '../shared/train/batch.js'
import { finiteOrNull } from '../shared/train/metrics.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { createOptimizer } from '../shared/train/optimizers.js'
import { scheduledRate } from '../shared/train/schedule.js'
import type { ClientData } from './data.js'
import { Preparation } from './preparation.js'
import { StepDropped, type Requests } from './requests.js'
import type { Worker } from './steps.js'

/** Moments that stay with the client between rounds (`optimizer_state: keep`). */
export interface MomentsStore {
  /** @param since what was kept of rounds before this one may go. */
  save(round: number, moments: OptimizerState, since: number): Promise<void>
  /** null if it holds none of that round. */
  load(round: number): Promise<OptimizerState | null>
  /** Rounds of which it holds some, the newest last. */
  rounds(): Promise<readonly number[]>
  /** The run is over: all may go. */
  clear(): Promise<void>
}

export interface RoundContext {
  readonly client: string
  readonly config: ClientConfig
  readonly data: ClientData
  readonly worker: Worker
  readonly requests: Requests
  readonly moments: MomentsStore
  readonly trace: Trace
  onStep(step: number, loss: number | null): void
  onDropped(step: number, reason: string): void
}

interface LocalStep {
  /** Summed plain nll of the step's scored tokens, nats. */
  readonly nll: number
  readonly tokens: number
  readonly grads: Map<string, F32Tensor>
}

/**
 * Makes the round's local steps and sends the adapter.
 * @throws RoundAbandoned when the server goes on before, UserError if its adapter does not fit or the link closes.
 */
export async function makeRound(context: RoundContext, start: MessageOf<'round-start'>): Promise<void> {
  const { client, config, data, worker, requests, trace } = context
  const { round, attempt, steps } = start
  const seconds = requests.startRound()
  requests.asksFirst = start.ask_first
  await worker.useCodecs(start.codecs)
  const adapter = inOrder(decodeTensors(start.adapter), worker.adapterNames)
  const optimizer = createOptimizer(config.train, await startMoments(context, start))
  const preparation = new Preparation((step) => data.localStep(round, step, steps), steps, trace, client)
  let made = 0
  for (let step = 0; step < steps;) {
    requests.checkCurrent()
    const end = trace.beginStep(`${client} steps`, 'step', { round, step })
    try {
      const result = await localStep(context, start, step, adapter, preparation)
      const rate = rateAt(config, start, step)
      const gradNorm = result && clipGradients(result.grads, config.train.max_grad_norm)
      if (result) {
        const endUpdate = trace.begin(client, 'optimizer')
        if (adapter.size > 0) optimizer.step(adapter, result.grads, rate)
        endUpdate()
        made++
        context.onStep(step, finiteOrNull(result.nll / result.tokens))
      }
      // The next step need not wait until the server holds this; a link that closes says so itself.
      requests.send(reportOf(start, step, rate, result, gradNorm)).catch(() => {})
      step++
    } catch (error) {
      if (!(error instanceof StepDropped)) throw error
      const { reason, next_step } = error.dropped
      context.onDropped(step, reason)
      step = next_step ?? steps
    } finally {
      end()
    }
  }
  const { state } = optimizer
  if (state && config.federation.optimizer_state === 'keep') await context.moments.save(round, state, start.keep_since ?? round)
  const moments = state && config.federation.optimizer_state === 'average' ? encodeMoments(state) : null
  await requests.send({
    ...{ type: 'adapter', round, attempt, adapter: encodeTensors(adapter), moments, steps: made, seconds },
    ...{ upload: requests.meter.upload, round_trip_s: requests.meter.roundTripSeconds },
  })
}

/** Evaluates the held-out rows and sends the sums. @throws as makeRound. */
export async function makeEvaluation(context: RoundContext, message: MessageOf<'evaluate'>): Promise<void> {
  const { data, worker, requests } = context
  const { round, attempt, max_batches } = message
  await worker.useCodecs(message.codecs)
  const adapter = inOrder(decodeTensors(message.adapter), worker.adapterNames)
  requests.asksFirst = message.ask_first
  const sums = { nll: 0, tokens: 0, bytes: 0, rows: 0 }
  let step = 0
  for (const { batch, bytes, rows } of data.evaluation(max_batches)) {
    sums.nll += await worker.evaluate(batch, adapter, { round, attempt, step, micro: 0 })
    sums.tokens += batch.targets.data.length
    sums.bytes += bytes
    sums.rows += rows
    step++
  }
  await requests.send({ type: 'evaluation', round, attempt, ...sums, nll: finiteOrNull(sums.nll) })
}

/** Summed gradients of the step's micro-batches, or null if they have no scored token. */
async function localStep(
  { client, config, worker }: RoundContext,
  { round, attempt }: MessageOf<'round-start'>,
  step: number,
  adapter: NamedTensors,
  preparation: Preparation<readonly Batch[]>,
): Promise<LocalStep | null> {
  const batches = preparation.take(step)
  const normalizer = batches.reduce((sum, { targets }) => sum + targets.data.length, 0)
  if (normalizer === 0) return null
  const grads = new Map<string, F32Tensor>()
  let nll = 0
  for (const [micro, batch] of batches.entries()) {
    const place = { seed: config.train.seed, client, round, attempt, step, micro }
    const result = await worker.train(batch, normalizer, adapter, place, () => preparation.prepare(step + 1))
    nll += result.nll
    for (const [name, { shape, data: more }] of result.grads) {
      const sum = grads.get(name)
      if (!sum) grads.set(name, f32(shape, more))
      else for (let i = 0; i < more.length; i++) sum.data[i] += more[i]
    }
  }
  return { nll, tokens: normalizer, grads }
}

function rateAt({ train }: ClientConfig, { position, positions }: MessageOf<'round-start'>, step: number): number {
  const { lr_scheduler_type: type, learning_rate: learningRate, warmup_ratio: warmupRatio } = train
  return scheduledRate({ type, learningRate, warmupRatio, positions }, position + step)
}

function reportOf(
  { round, attempt }: MessageOf<'round-start'>,
  step: number,
  lr: number,
  result: LocalStep | null,
  gradNorm: number | null,
): MessageOf<'step'> {
  const place = { type: 'step' as const, round, attempt, step, lr }
  if (!result) return { ...place, outcome: 'no-scored-tokens', nll: null, tokens: 0, grad_norm: null }
  const { nll, tokens } = result
  return { ...place, outcome: 'updated', nll: finiteOrNull(nll), tokens, grad_norm: gradNorm === null ? null : finiteOrNull(gradNorm) }
}

async function startMoments(
  { moments: kept }: RoundContext,
  { moments, keep_from }: MessageOf<'round-start'>,
): Promise<OptimizerState | null> {
  if (moments) return { updates: moments.updates, mean: decodeTensors(moments.mean), square: decodeTensors(moments.square) }
  // The server asks for none that this client did not name.
  return keep_from === null ? null : ((await kept.load(keep_from)) ?? gone(keep_from))
}

function gone(round: number): never {
  throw new UserError({
    code: 'CLIENT_STATE_MISSING',
    what: 'this client cannot go on with the run',
    why: `the optimizer state that it kept of round ${round} is gone since it joined`,
    fix: 'start the client again, and leave its state folder alone while it runs',
  })
}

function encodeMoments({ updates, mean, square }: OptimizerState): CodedMoments {
  return { updates, mean: encodeTensors(mean), square: encodeTensors(square) }
}

function inOrder(tensors: Map<string, F32Tensor>, names: readonly string[]): Map<string, F32Tensor> {
  const missing = names.find((name) => !tensors.has(name))
  if (missing !== undefined || tensors.size !== names.length)
    throw new UserError({
      code: 'MESSAGE_INVALID',
      what: 'the server sent an adapter that does not fit this client',
      why: missing === undefined ? `it has ${tensors.size} tensors, and ${names.length} are expected` : `${missing} is not in it`,
      fix: 'make sure that both ends run the same version of cutlayer and use the same model',
    })
  return new Map(names.map((name) => [name, tensors.get(name)!]))
}
