/**
 * @file The host's end of one worker: calls, their answers, and what happens when the worker dies.
 */
import { once } from 'node:events'
import { Worker, type TransferListItem } from 'node:worker_threads'
import { UserError } from '../../errors.js'
import { workerUrl } from '../../worker-url.node.js'
import type { Answer, Call, Reply, Request, WorkerSetup } from './worker-messages.js'

interface Pending {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** A worker that is started by its first call. It keeps the process alive only while a call is pending. */
export class WorkerLane {
  private worker: Worker | undefined
  private readonly pending = new Map<number, Pending>()
  private lastCall = 0
  private failure: Error | undefined

  constructor(
    readonly index: number,
    private readonly setup: WorkerSetup,
  ) {}

  /** Calls that are not answered yet. */
  get queued(): number {
    return this.pending.size
  }

  /**
   * @throws UserError ENGINE_UNAVAILABLE if the engine cannot be loaded; Error with the runtime's own words for anything else it
   *   reports, and for a worker that died before it answered.
   */
  call(request: Request, moved: readonly TransferListItem[] = []): Promise<Answer> {
    if (this.failure) return Promise.reject(this.failure)
    const worker = (this.worker ??= this.start())
    return new Promise((resolve, reject) => {
      const message: Call = { call: ++this.lastCall, request }
      this.pending.set(message.call, { resolve, reject })
      worker.ref()
      worker.postMessage(message, moved)
    })
  }

  /** Ends the worker after the calls already made. */
  async close(): Promise<void> {
    const worker = this.worker
    if (!worker || this.failure) return
    const gone = once(worker, 'exit')
    await this.call({ type: 'close' })
    this.failure = new Error('the backend was disposed')
    worker.ref()
    await gone
  }

  private start(): Worker {
    // Node flags of the main thread are not for workers: some, such as --input-type, keep one from starting.
    const worker = new Worker(workerUrl('onnx-worker.node.js', import.meta.url), { workerData: this.setup, execArgv: [] })
    worker.on('message', (reply: Reply) => this.settle(reply))
    worker.on('error', (error) => this.fail(`failed: ${error.message}`))
    worker.on('exit', (code) => this.fail(`ended with code ${code}`))
    worker.unref()
    return worker
  }

  private settle(reply: Reply): void {
    const pending = this.pending.get(reply.call)
    this.pending.delete(reply.call)
    if (this.pending.size === 0) this.worker?.unref()
    if ('answer' in reply) pending?.resolve(reply.answer)
    else pending?.reject(reply.missing ? engineMissing(this.setup.engine, reply.error) : new Error(reply.error))
  }

  private fail(how: string): void {
    this.failure ??= new Error(`the ONNX Runtime worker of lane ${this.index} ${how}`)
    for (const { reject } of this.pending.values()) reject(this.failure)
    this.pending.clear()
  }
}

function engineMissing(engine: string, why: string): UserError {
  return new UserError({
    code: 'ENGINE_UNAVAILABLE',
    what: 'the engine onnx cannot be loaded',
    why: `${engine}: ${why.split('\n')[0]}`,
    fix: 'run `npm ci` again, on Linux (glibc), macOS (arm64) or Windows; or set model.engine to reference, which is slow and needs nothing installed',
  })
}
