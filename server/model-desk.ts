/**
 * @file Hands the model's files to clients that lack them: in turn, a piece at a time, and never at the expense of the training.
 *
 * Of each client one piece is read and on its way at a time; the next is read when the client holds it. While there is a round, a client
 * waits after each piece for as long as that took, times the clients that are fetching: all of them together then take no more of the line
 * than one connection would.
 */
import { UserError } from '../shared/errors.js'
import type { ServedModel } from '../shared/model/served.node.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { FileRequest, MessageOf, ModelFiles } from '../shared/protocol/messages.js'
import { invalid } from './invalid.js'
import type { Clock } from './observer.js'
import type { ClientId } from './round-state.js'

/** Requests of one client that may wait: it asks for the next piece before it has the last. */
export const MOST_WAITING = 4
/** A client that got wrong bytes fetches a file once more, and no client needs more than that. */
const MOST_COPIES = 2

/** What one link has asked for. */
interface Visit {
  readonly waiting: (FileRequest | 'list')[]
  isServed: boolean
  hasList: boolean
  /** Bytes that it asked for so far. */
  askedBytes: number
}

export interface ModelDeskOptions {
  /** null: this server has its model in memory alone. */
  readonly model: ServedModel | null
  readonly clock: Clock
  /** Whether clients train or evaluate just now. */
  readonly isBusy: () => boolean
  /** The server, or the link, cannot go on with it. */
  readonly onUnusable: (client: ClientId, link: ServerLink, error: unknown) => void
}

export class ModelDesk {
  private readonly visits = new WeakMap<ServerLink, Visit>()
  /** The last piece that is being read: the next is read after it, so clients take turns. */
  private reading: Promise<unknown> = Promise.resolve()
  private fetching = 0
  /** Pauses under way: what ends them. */
  private readonly pauses = new Set<() => void>()

  constructor(private readonly options: ModelDeskOptions) {}

  /** @throws UserError MESSAGE_INVALID for a client that asks for too much at once, or again and again. */
  ask(client: ClientId, link: ServerLink, message: FileRequest | MessageOf<'model-request'>): void {
    const visit = this.visits.get(link) ?? { waiting: [], isServed: false, hasList: false, askedBytes: 0 }
    this.visits.set(link, visit)
    if (visit.waiting.length >= MOST_WAITING) throw invalid(`more than ${MOST_WAITING} requests for files before it had an answer`)
    if (message.type === 'model-request') {
      if (visit.hasList) throw invalid('a second request for the list of files')
      visit.hasList = true
      visit.waiting.push('list')
    } else {
      if (!visit.hasList) throw invalid('a request for a file before one for their list')
      visit.waiting.push(message)
    }
    if (!visit.isServed) void this.serve(client, link, visit)
  }

  /** The run is over: nobody waits for a pause. */
  close(): void {
    for (const end of [...this.pauses]) end()
  }

  private async serve(client: ClientId, link: ServerLink, visit: Visit): Promise<void> {
    visit.isServed = true
    this.fetching++
    try {
      for (let next = visit.waiting[0]; next !== undefined; next = visit.waiting[0]) {
        const startedAt = this.options.clock.now()
        const answer = next === 'list' ? await this.list() : await this.inTurn(() => this.piece(next, visit))
        await link.send(answer)
        visit.waiting.shift()
        await this.giveWay(this.options.clock.now() - startedAt)
      }
    } catch (error) {
      // Also where the link has closed, which changes nothing then.
      this.options.onUnusable(client, link, error)
    } finally {
      visit.isServed = false
      this.fetching--
    }
  }

  private async list(): Promise<ModelFiles> {
    return { type: 'model-files', ...(await this.served.list()) }
  }

  private async piece({ file, offset, bytes }: FileRequest, visit: Visit): Promise<MessageOf<'file-piece'>> {
    const { files } = await this.served.list()
    const known = Object.hasOwn(files, file) ? files[file] : null
    if (!known) throw invalid(`a request for ${file}, which this model does not have`)
    if (offset + bytes > known.bytes)
      throw invalid(`a request for bytes ${offset} to ${offset + bytes} of ${file}, which has ${known.bytes}`)
    visit.askedBytes += bytes
    const mostBytes = MOST_COPIES * Object.values(files).reduce((sum, entry) => sum + entry.bytes, 0)
    if (visit.askedBytes > mostBytes) throw invalid('requests for more than two copies of the whole model')
    return { type: 'file-piece', file, offset, bytes: await this.served.read(file, offset, bytes) }
  }

  private get served(): ServedModel {
    const { model } = this.options
    if (model) return model
    throw new UserError({
      code: 'MODEL_NOT_FOUND',
      what: 'this server does not hand its model out',
      why: 'it has its weights in memory alone',
      fix: "give the client a copy of the server's model with --model",
    })
  }

  private inTurn<T>(read: () => Promise<T>): Promise<T> {
    const turn = this.reading.then(read)
    this.reading = turn.catch(() => {})
    return turn
  }

  private giveWay(tookMs: number): Promise<void> {
    return new Promise((resolve) => {
      const pauseMs = this.options.isBusy() ? tookMs * this.fetching : 0
      // A turn of the event loop in any case: what has arrived meanwhile goes first.
      if (pauseMs <= 0) return void setImmediate(resolve)
      const end = (): void => {
        cancel()
        this.pauses.delete(end)
        resolve()
      }
      const cancel = this.options.clock.after(pauseMs, end)
      this.pauses.add(end)
    })
  }
}
