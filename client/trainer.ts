/**
 * @file A client's side of a run: answers the server's messages, makes its local steps, and sends its adapter. Runs in a browser too: rows,
 * model and link are handed in.
 */
import type { ClientConfig } from '../shared/config/schema.js'
import { UserError, unreachable } from '../shared/errors.js'
import { decodeTensors, encodeTensors } from '../shared/protocol/coded.js'
import type { ClientLink } from '../shared/protocol/link.js'
import type { Activations, CodedMoments, Gradients, MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { f32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import { clipGradients } from '../shared/train/clip.js'
import { finiteOrNull } from '../shared/train/metrics.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { createOptimizer } from '../shared/train/optimizers.js'
import { scheduledRate } from '../shared/train/schedule.js'
import type { ClientData } from './data.js'
import { Mailbox } from './mailbox.js'
import type { Exchange, Stopwatch, Worker } from './steps.js'

/** What a client needs beside the link: made once the server has said what the run is. */
export interface Equipment {
  readonly data: ClientData
  readonly worker: Worker
}

/** Moments that stay with the client between rounds (`optimizer_state: keep`). */
export interface MomentsStore {
  save(round: number, moments: OptimizerState): Promise<void>
  /** null if it holds none of that round. */
  load(round: number): Promise<OptimizerState | null>
}

export interface TrainerOptions {
  readonly client: string
  readonly link: ClientLink
  /** Opens model and data. @throws UserError what the client cannot do; the server is told. */
  equip(welcome: MessageOf<'welcome'>, exchange: Exchange, watch: Stopwatch): Promise<Equipment>
  readonly moments: MomentsStore
  readonly onEvent?: (event: TrainerEvent) => void
}

export type TrainerEvent =
  | { readonly kind: 'welcome'; readonly run: string; readonly welcome: MessageOf<'welcome'> }
  | { readonly kind: 'ready'; readonly data: ClientData }
  | { readonly kind: 'round'; readonly round: number; readonly steps: number }
  | { readonly kind: 'step'; readonly round: number; readonly step: number; readonly steps: number; readonly loss: number | null }
  | { readonly kind: 'dropped'; readonly round: number; readonly step: number; readonly reason: string }
  | { readonly kind: 'round-end'; readonly round: number; readonly trainLoss: number | null; readonly evalLoss: number | null }
  | { readonly kind: 'finish'; readonly reason: string }

/** The server gave up a step; the round goes on with `next`. */
class StepDropped extends Error {
  constructor(readonly message_: MessageOf<'dropped'>) {
    super(message_.reason)
  }
}

/** The server went on to another round or to its end. */
class RoundAbandoned extends Error {}

/**
 * Takes part in a run until the server says that it has finished.
 * @throws UserError what the server refused or ended the run with, CONNECTION_LOST, or what `equip` throws.
 */
export function train(options: TrainerOptions): Promise<void> {
  return new Trainer(options).run()
}

class Trainer {
  private readonly mail = new Mailbox<ServerMessage>()
  private equipment: Equipment | null = null
  private config: ClientConfig | null = null
  private task: Promise<void> = Promise.resolve()
  /** Numbers of the work that the server asked for last, and of that which is under way: they differ once it has gone on. */
  private latest = 0
  private running = 0
  private seconds = { compute: 0, wait: 0, network: 0 }
  private over: { resolve(): void; reject(error: Error): void } = { resolve() {}, reject() {} }

  constructor(private readonly options: TrainerOptions) {}

  async run(): Promise<void> {
    const { link } = this.options
    const finished = new Promise<void>((resolve, reject) => (this.over = { resolve, reject }))
    link.onClose((reason, error) => this.over.reject(error ?? lost(reason)))
    link.onMessage((message) => this.receive(message))
    try {
      await finished
    } finally {
      this.supersede('the run is over')
      await this.task
      await this.equipment?.worker.dispose()
      await link.close('the client has left')
    }
  }

  private receive(message: ServerMessage): void {
    if (this.mail.offer(message)) return
    switch (message.type) {
      case 'welcome':
        return this.begin(() => this.equip(message))
      case 'round-start':
        return this.begin(() => this.round(message))
      case 'evaluate':
        return this.begin(() => this.evaluate(message))
      case 'dropped':
        // Between two requests: the step's next one meets it.
        this.droppedStep = message
        return
      case 'round-end':
        this.options.onEvent?.({ kind: 'round-end', round: message.round, trainLoss: message.train_loss, evalLoss: message.eval_loss })
        this.supersede('the round is over')
        return
      case 'finish':
        this.options.onEvent?.({ kind: 'finish', reason: message.reason })
        return this.over.resolve()
      case 'refused':
      case 'error':
        return this.over.reject(new UserError(message.error))
      case 'gradients':
      case 'loss':
      case 'heartbeat':
        return // an answer to what was given up
      default:
        return unreachable(`server message ${JSON.stringify(message)}`)
    }
  }

  private droppedStep: MessageOf<'dropped'> | null = null

  /** Runs one piece of work after the last, which is given up: at once if it waits for an answer, else when it next asks for one. */
  private begin(work: () => Promise<void>): void {
    const number = this.supersede('the server went on')
    const run = (): Promise<void> => {
      this.running = number
      return work()
    }
    this.task = this.task.then(run).catch((error: Error) => {
      if (!(error instanceof RoundAbandoned)) return this.fail(error)
    })
  }

  private supersede(why: string): number {
    this.mail.cancel(new RoundAbandoned(why))
    return ++this.latest
  }

  /** The server does not answer what belongs to a round that is over: waiting for it would be waiting for ever. */
  private checkCurrent(): void {
    if (this.running !== this.latest) throw new RoundAbandoned('the server went on')
  }

  private async fail(error: Error): Promise<void> {
    if (error instanceof UserError) await this.options.link.send({ type: 'error', error: error.report() }).catch(() => {})
    this.over.reject(error)
  }

  private async equip(welcome: MessageOf<'welcome'>): Promise<void> {
    this.options.onEvent?.({ kind: 'welcome', run: welcome.run, welcome })
    this.config = welcome.config
    this.equipment = await this.options.equip(welcome, this.exchange(), { computing: (work) => this.timed('compute', work) })
    const { data } = this.equipment
    this.options.onEvent?.({ kind: 'ready', data })
    await this.options.link.send({ type: 'ready', examples: data.examples, tokens: data.tokens, eval_examples: data.evalExamples })
  }

  // ---- a round

  private async round(start: MessageOf<'round-start'>): Promise<void> {
    const { equipment, config } = this
    if (!equipment || !config) return unreachable('a round before the welcome')
    const { round, attempt, steps } = start
    this.seconds = { compute: 0, wait: 0, network: 0 }
    this.droppedStep = null
    this.options.onEvent?.({ kind: 'round', round, steps })
    const adapter = inOrder(decodeTensors(start.adapter), equipment.worker.adapterNames)
    const optimizer = createOptimizer(config.train, await this.startMoments(start))
    let made = 0
    for (let step = 0; step < steps;) {
      this.checkCurrent()
      try {
        const result = await this.localStep(start, step, adapter)
        const { train } = config
        const rate = scheduledRate(
          { type: train.lr_scheduler_type, learningRate: train.learning_rate, warmupRatio: train.warmup_ratio, positions: start.positions },
          start.position + step,
        )
        const report = { type: 'step' as const, round, attempt, step, lr: rate }
        if (result) {
          const gradNorm = clipGradients(result.grads, train.max_grad_norm)
          if (adapter.size > 0) optimizer.step(adapter, result.grads, rate)
          made++
          this.options.onEvent?.({ kind: 'step', round, step, steps, loss: finiteOrNull(result.nll / result.tokens) })
          await this.send({
            ...report,
            outcome: 'updated',
            nll: finiteOrNull(result.nll),
            tokens: result.tokens,
            grad_norm: finiteOrNull(gradNorm),
          })
        } else {
          await this.send({ ...report, outcome: 'no-scored-tokens', nll: null, tokens: 0, grad_norm: null })
        }
        step++
      } catch (error) {
        if (!(error instanceof StepDropped)) throw error
        const { reason, next_step } = error.message_
        this.options.onEvent?.({ kind: 'dropped', round, step, reason })
        step = next_step ?? steps
      }
    }
    const { state } = optimizer
    if (state && config.federation.optimizer_state === 'keep') await this.options.moments.save(round, state)
    await this.send({
      type: 'adapter',
      round,
      attempt,
      adapter: encodeTensors(adapter),
      moments: state && config.federation.optimizer_state === 'average' ? encodeMoments(state) : null,
      steps: made,
      seconds: this.seconds,
    })
  }

  /** Summed gradients of the step's micro-batches, or null if they have no scored token. */
  private async localStep(
    { round, attempt, steps }: MessageOf<'round-start'>,
    step: number,
    adapter: NamedTensors,
  ): Promise<{ nll: number; tokens: number; grads: Map<string, F32Tensor> } | null> {
    const { data, worker } = this.equipment!
    const batches = data.localStep(round, step, steps)
    const normalizer = batches.reduce((sum, { targets }) => sum + targets.data.length, 0)
    if (normalizer === 0) return null
    const grads = new Map<string, F32Tensor>()
    let nll = 0
    for (const [micro, batch] of batches.entries()) {
      const place = { seed: this.config!.train.seed, client: this.options.client, round, attempt, step, micro }
      const result = await worker.train(batch, normalizer, adapter, place)
      nll += result.nll
      for (const [name, { shape, data: more }] of result.grads) {
        const sum = grads.get(name)
        if (!sum) grads.set(name, f32(shape, more))
        else for (let i = 0; i < more.length; i++) sum.data[i] += more[i]
      }
    }
    return { nll, tokens: normalizer, grads }
  }

  private async startMoments(start: MessageOf<'round-start'>): Promise<OptimizerState | null> {
    if (start.moments) return decodeMoments(start.moments)
    return start.keep_from === null ? null : this.options.moments.load(start.keep_from)
  }

  private async evaluate({ round, attempt, adapter: coded, max_batches }: MessageOf<'evaluate'>): Promise<void> {
    const { data, worker } = this.equipment ?? unreachable('an evaluation before the welcome')
    const adapter = inOrder(decodeTensors(coded), worker.adapterNames)
    const sums = { nll: 0, tokens: 0, bytes: 0, rows: 0 }
    let step = 0
    for (const { batch, bytes, rows } of data.evaluation(max_batches)) {
      sums.nll += await worker.evaluate(batch, adapter, { round, attempt, step, micro: 0 })
      sums.tokens += batch.targets.data.length
      sums.bytes += bytes
      sums.rows += rows
      step++
    }
    await this.send({ type: 'evaluation', round, attempt, ...sums, nll: finiteOrNull(sums.nll) })
  }

  // ---- the link

  private exchange(): Exchange {
    return {
      gradients: (message) => this.request<Gradients>(message, 'gradients'),
      loss: (message) => this.request<MessageOf<'loss'>>(message, 'loss'),
    }
  }

  private async request<Reply extends Gradients | MessageOf<'loss'>>(message: Activations, type: Reply['type']): Promise<Reply> {
    this.checkCurrent()
    this.checkDropped(message)
    // Listening begins before sending: the answer may come while the last chunk is being acknowledged.
    const reply = this.mail.next(
      (answer) =>
        (answer.type === type && sameRequest(answer, message)) ||
        (message.purpose === 'train' &&
          answer.type === 'dropped' &&
          answer.round === message.round &&
          answer.attempt === message.attempt &&
          answer.step === message.step),
    )
    reply.catch(() => {})
    await this.send(message)
    const answer = await this.timed('wait', reply)
    if (answer.type === 'dropped') throw new StepDropped(answer)
    return answer as Reply
  }

  private checkDropped({ purpose, round, attempt, step }: Activations): void {
    if (purpose !== 'train') return
    const dropped = this.droppedStep
    this.droppedStep = null
    // A client that computed for long may have missed several steps; the last word tells where to go on.
    if (dropped && dropped.round === round && dropped.attempt === attempt && dropped.step >= step) throw new StepDropped(dropped)
  }

  private send(message: Parameters<ClientLink['send']>[0]): Promise<void> {
    return this.timed('network', this.options.link.send(message))
  }

  private async timed<T>(kind: 'compute' | 'wait' | 'network', work: Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await work
    } finally {
      this.seconds[kind] += (performance.now() - start) / 1000
    }
  }
}

type Place = Pick<Activations, 'round' | 'attempt' | 'step' | 'micro'>

function sameRequest(a: Place, b: Place): boolean {
  return a.round === b.round && a.attempt === b.attempt && a.step === b.step && a.micro === b.micro
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

function encodeMoments({ updates, mean, square }: OptimizerState): CodedMoments {
  return { updates, mean: encodeTensors(mean), square: encodeTensors(square) }
}

function decodeMoments({ updates, mean, square }: CodedMoments): OptimizerState {
  return { updates, mean: decodeTensors(mean), square: decodeTensors(square) }
}

function lost(reason: string): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: 'the server closed the connection before the run was over',
    why: reason,
    fix: "see the server's log, and start this client again when the server runs",
  })
}
