/**
 * @file A client's side of a run: answers the server's messages with its work, one piece after another. Runs in a browser too: rows, model and
 * link are handed in.
 */
import type { ClientConfig } from '../shared/config/schema.js'
import { UserError, unreachable } from '../shared/errors.js'
import type { ClientLink, Traffic } from '../shared/protocol/link.js'
import { MOST_KEPT, type MessageOf, type ServerMessage } from '../shared/protocol/messages.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import type { ClientData } from './data.js'
import type { FileSource } from './file-requests.js'
import { Requests, RoundAbandoned } from './requests.js'
import { makeEvaluation, makeRound, type MomentsStore, type RoundContext } from './round.js'
import type { Exchange, Stopwatch, Worker } from './steps.js'

/** What a client needs beside the link: made once the server has said what the run is. */
export interface Equipment {
  readonly data: ClientData
  readonly worker: Worker
}

export interface TrainerOptions {
  readonly client: string
  readonly link: ClientLink
  /** Opens model and data. @throws UserError what the client cannot do; the server is told. */
  equip(welcome: MessageOf<'welcome'>, server: Exchange & { readonly files: FileSource }, watch: Stopwatch): Promise<Equipment>
  readonly moments: MomentsStore
  readonly onEvent?: (event: TrainerEvent) => void
  /** Begins each piece of work, now or when its turn comes. Without it: at once. */
  readonly around?: Around
  /** Hears what each message cost. */
  readonly onTraffic?: (traffic: Traffic) => void
  readonly trace?: Trace
}

/** Does a client's work, with what has to come before and after it. Another client's work may go on meanwhile. */
export type Around = (work: 'round' | 'evaluation', task: () => Promise<void>) => Promise<void>

export type TrainerEvent =
  | { readonly kind: 'welcome'; readonly run: string; readonly welcome: MessageOf<'welcome'> }
  /** Bytes of the files of the model that the client fetches now. */
  | { readonly kind: 'fetch'; readonly file: string; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: 'ready'; readonly data: ClientData }
  | { readonly kind: 'round'; readonly round: number; readonly steps: number }
  | { readonly kind: 'step'; readonly round: number; readonly step: number; readonly steps: number; readonly loss: number | null }
  | { readonly kind: 'dropped'; readonly round: number; readonly step: number; readonly reason: string }
  | { readonly kind: 'evaluate'; readonly round: number }
  | { readonly kind: 'round-end'; readonly round: number; readonly trainLoss: number | null; readonly evalLoss: number | null }
  | { readonly kind: 'finish'; readonly reason: string }

/**
 * Takes part in a run until the server says that it has finished.
 * @throws UserError what the server refused or ended the run with, CONNECTION_LOST, or what `equip` throws.
 */
export function train(options: TrainerOptions): Promise<void> {
  return new Trainer(options).run()
}

class Trainer {
  private readonly requests: Requests
  private equipped: { readonly equipment: Equipment; readonly config: ClientConfig } | null = null
  private task: Promise<void> = Promise.resolve()
  /** Whether all rounds of the run were made. */
  private isComplete = false
  private over: { resolve(): void; reject(error: Error): void } = { resolve() {}, reject() {} }

  constructor(private readonly options: TrainerOptions) {
    this.requests = new Requests(options.link, options.client, options.trace)
  }

  async run(): Promise<void> {
    const { link } = this.options
    const finished = new Promise<void>((resolve, reject) => (this.over = { resolve, reject }))
    link.onClose((reason, error) => this.over.reject(error ?? lost(reason)))
    link.onMessage((message) => this.receive(message))
    // A link keeps what it has to tell until somebody listens.
    link.onTraffic((traffic, message) => {
      this.requests.booked(traffic, message)
      this.options.onTraffic?.(traffic)
    })
    try {
      await finished
    } finally {
      this.requests.supersede('the run is over')
      await this.task
      await this.equipped?.equipment.worker.dispose()
      if (this.isComplete && this.equipped?.config.federation.optimizer_state === 'keep') await this.options.moments.clear()
      await link.close('the client has left')
    }
  }

  private receive(message: ServerMessage): void {
    if (this.requests.offer(message)) return
    switch (message.type) {
      case 'welcome':
        return this.begin(() => this.equip(message))
      case 'round-start':
        return this.beginPiece('round', () => {
          this.options.onEvent?.({ kind: 'round', round: message.round, steps: message.steps })
          return makeRound(this.contextOf(message), message)
        })
      case 'evaluate':
        return this.beginPiece('evaluation', () => {
          this.options.onEvent?.({ kind: 'evaluate', round: message.round })
          return makeEvaluation(this.contextOf({ round: message.round, steps: 0 }), message)
        })
      case 'dropped':
        return this.requests.drop(message)
      case 'round-end':
        this.options.onEvent?.({ kind: 'round-end', round: message.round, trainLoss: message.train_loss, evalLoss: message.eval_loss })
        this.requests.supersede('the round is over')
        return
      case 'finish':
        this.options.onEvent?.({ kind: 'finish', reason: message.reason })
        this.isComplete = message.complete
        return this.over.resolve()
      case 'refused':
      case 'error':
        return this.over.reject(new UserError(message.error))
      case 'gradients':
      case 'resync':
      case 'grant':
      case 'loss':
      case 'model-files':
      case 'file-piece':
      case 'heartbeat':
        return // an answer to what was given up
      default:
        return unreachable(`server message ${JSON.stringify(message)}`)
    }
  }

  private beginPiece(kind: 'round' | 'evaluation', work: () => Promise<void>): void {
    const { around } = this.options
    const current = async (): Promise<void> => {
      this.requests.checkCurrent() // the server may have gone on while it waited for its turn
      await work()
    }
    this.begin(around ? () => around(kind, current) : work)
  }

  /** Runs one piece of work after the last, which is given up. */
  private begin(work: () => Promise<void>): void {
    const number = this.requests.supersede('the server went on')
    const run = (): Promise<void> => {
      this.requests.begin(number)
      return work()
    }
    this.task = this.task.then(run).catch((error: Error) => {
      if (!(error instanceof RoundAbandoned)) return this.fail(error)
    })
  }

  private async fail(error: Error): Promise<void> {
    if (error instanceof UserError) await this.options.link.send({ type: 'error', error: error.report() }).catch(() => {})
    this.over.reject(error)
  }

  private async equip(welcome: MessageOf<'welcome'>): Promise<void> {
    this.options.onEvent?.({ kind: 'welcome', run: welcome.run, welcome })
    const equipment = await this.options.equip(welcome, this.requests, this.requests)
    this.equipped = { equipment, config: welcome.config }
    const { data } = equipment
    this.options.onEvent?.({ kind: 'ready', data })
    const kept = welcome.config.federation.optimizer_state === 'keep' ? await this.options.moments.rounds() : []
    const { examples, tokens, evalExamples: eval_examples } = data
    await this.requests.send({ type: 'ready', examples, tokens, eval_examples, kept: kept.slice(-MOST_KEPT) })
  }

  private contextOf({ round, steps }: { round: number; steps: number }): RoundContext {
    const { client, moments, onEvent, trace = silentTrace } = this.options
    const { equipment, config } = this.equipped ?? unreachable('work before the welcome')
    return {
      client,
      config,
      ...equipment,
      requests: this.requests,
      moments,
      trace,
      onStep: (step, loss) => onEvent?.({ kind: 'step', round, step, steps, loss }),
      onDropped: (step, reason) => onEvent?.({ kind: 'dropped', round, step, reason }),
    }
  }
}

function lost(reason: string): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: 'the server closed the connection before the run was over',
    why: reason,
    fix: "see the server's log, and start this client again when the server runs",
  })
}
