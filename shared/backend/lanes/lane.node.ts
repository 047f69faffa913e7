/**
 * @file The host's end of one worker: calls, their answers, and what happens when the worker dies.
 */
import type { TransferListItem } from 'node:worker_threads'
import type { UserError } from '../../errors.js'
import type { Answer, Call, Reply, Request } from './messages.js'
import type { StartWorker, WorkerHost } from './worker-host.node.js'

interface Pending {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

export interface LaneSettings {
  /** For messages, as `ONNX Runtime`. */
  readonly engine: string
  readonly start: StartWorker
  /** The error for a worker that says why it cannot load its engine. */
  missing(why: string): UserError
}

/** A worker that is started by its first call. It keeps the process alive only while a call is pending. */
export class Lane<Model> {
  private worker: WorkerHost | undefined
  private readonly pending = new Map<number, Pending>()
  private lastCall = 0
  private failure: Error | undefined
  private ended: (() => void) | undefined

  constructor(
    readonly index: number,
    private readonly settings: LaneSettings,
  ) {}

  /** Calls that are not answered yet. */
  get queued(): number {
    return this.pending.size
  }

  /**
   * @throws UserError of `missing` if the engine cannot be loaded; Error with the engine's own words for anything else it reports, and for a
   *   worker that died before it answered.
   */
  call(request: Request<Model>, moved: readonly TransferListItem[] = []): Promise<Answer> {
    if (this.failure) return Promise.reject(this.failure)
    const worker = (this.worker ??= this.start())
    return new Promise((resolve, reject) => {
      const message: Call<Model> = { call: ++this.lastCall, request }
      this.pending.set(message.call, { resolve, reject })
      worker.ref()
      worker.post(message, moved)
    })
  }

  /** Ends the worker after the calls already made. */
  async close(): Promise<void> {
    const worker = this.worker
    if (!worker || this.failure) return
    const gone = new Promise<void>((resolve) => (this.ended = resolve))
    await this.call({ type: 'close' })
    this.failure = new Error('the backend was disposed')
    worker.ref()
    await gone
  }

  private start(): WorkerHost {
    const worker = this.settings.start({
      onMessage: (reply) => this.settle(reply as Reply),
      onEnd: (how) => this.fail(how),
    })
    worker.unref()
    return worker
  }

  private settle(reply: Reply): void {
    const pending = this.pending.get(reply.call)
    this.pending.delete(reply.call)
    if (this.pending.size === 0) this.worker?.unref()
    if ('answer' in reply) pending?.resolve(reply.answer)
    else pending?.reject(reply.missing ? this.settings.missing(reply.error) : new Error(reply.error))
  }

  private fail(how: string): void {
    this.failure ??= new Error(`the ${this.settings.engine} worker of lane ${this.index} ${how}`)
    for (const { reject } of this.pending.values()) reject(this.failure)
    this.pending.clear()
    this.ended?.()
  }
}
