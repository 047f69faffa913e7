/**
 * @file One end of a link: numbered messages over frames, surviving the loss of the connection that carries them.
 *
 * Both sides, sockets and memory alike, use this class, so a run over memory packs, counts and checks exactly what a run over sockets
 * does. It knows neither sockets nor time: whoever owns it attaches a wire, detaches it when the connection breaks, and ends the
 * session when it has been gone for too long.
 */
import type { z } from 'zod'
import { UserError } from '../errors.js'
import { ChunkReceiver, ChunkSender, type Accepted } from './chunks.js'
import {
  AckFields,
  ackFrameBytes,
  Chunk,
  ChunkFields,
  chunkFrameBytes,
  Closed,
  frameBytes,
  Held,
  type Opening,
  type Side,
  type Wire,
} from './frames.js'
import type { Link, Traffic } from './link.js'
import type { LinkLimits } from './limits.js'
import type { ClientMessage, ServerMessage } from './messages.js'
import { packMessage, unpackMessage } from './packing.js'
import { payloadBytes, trafficKind } from './traffic.js'

/** Corrupt chunks in a row before the link is given up: once may be an accident on the way, this often is not. */
const CORRUPT_LIMIT = 3

/** Messages of the largest size that may wait for the other end to take them in: a slow one is served, one that reads nothing is not. */
const MOST_WAITING_MESSAGES = 2

type AnyMessage = ClientMessage | ServerMessage

export interface SessionOptions<Incoming> {
  readonly side: Side
  /** What arrives must satisfy it. */
  readonly schema: z.ZodType<Incoming>
  readonly limits: LinkLimits
  /** Called once, when the link has closed for whatever reason; `close` waits for what it returns. */
  readonly onEnd?: () => void | Promise<void>
}

interface Pending<Outgoing> {
  readonly message: Outgoing
  wireBytes: number
  resolve(): void
  reject(error: UserError): void
}

export class Session<Outgoing extends AnyMessage, Incoming extends AnyMessage> implements Link<Outgoing, Incoming> {
  private readonly peer: Side
  private readonly sender: ChunkSender
  private readonly receiver: ChunkReceiver
  private readonly pending = new Map<number, Pending<Outgoing>>()
  private readonly messages = new LateListener<[Incoming]>()
  private readonly closings = new LateListener<[string, UserError | null]>()
  private readonly traffic = new LateListener<[Traffic, Outgoing | Incoming]>()
  private wire: Wire | null = null
  private ended: UserError | null = null
  private cleanUp: void | Promise<void> = undefined
  private frames = 0
  private corruptChunks = 0
  /** Wire bytes so far of the message that is arriving. */
  private arrivingBytes = 0

  constructor(private readonly options: SessionOptions<Incoming>) {
    this.peer = options.side === 'client' ? 'server' : 'client'
    this.sender = new ChunkSender(options.limits)
    this.receiver = new ChunkReceiver(options.limits)
  }

  get isAttached(): boolean {
    return this.wire !== null
  }

  get isEnded(): boolean {
    return this.ended !== null
  }

  /** How many frames have come, to tell whether the other end is alive. */
  get framesReceived(): number {
    return this.frames
  }

  /** What to tell the other end of a new connection. */
  held(): Held {
    return this.receiver.held()
  }

  /** Goes on over this wire, from where the other end says it stopped. The owner has told the other end our `held()`. */
  attach(wire: Wire, peerHeld: Held): void {
    if (this.ended) return
    this.wire = wire
    this.guarded(() => {
      this.settle(this.sender.resume(peerHeld))
      this.pump()
    })
  }

  /** The connection broke. Nothing is lost: what was under way goes again. */
  detach(): void {
    this.wire = null
  }

  /** A frame arrived; its body is unchecked. */
  receive(name: string, body: unknown): void {
    if (this.ended) return
    this.frames++
    this.guarded(() => {
      switch (name) {
        case 'chunk':
          return this.receiveChunk(parse(Chunk, ChunkFields.restore(body), 'a chunk'))
        case 'ack':
          this.settle(this.sender.acknowledge(parse(Held, AckFields.restore(body), 'an acknowledgement')))
          return this.pump()
        case 'closed': {
          const { reason, error } = parse(Closed, body, 'a farewell')
          const wire = this.wire
          this.end(reason, error && new UserError(error))
          return wire?.drop()
        }
        case 'heartbeat':
          return
        default:
          throw invalid(`there is no frame called "${name.slice(0, 64)}"`)
      }
    })
  }

  /** Books the hello that opened the link on both ends, and delivers it on the server's. */
  greet(opening: Opening): void {
    const traffic: Traffic = { direction: 'up', kind: 'control', payloadBytes: 0, wireBytes: frameBytes('hello', opening, 'client') }
    this.traffic.call(traffic, opening.hello as Outgoing | Incoming)
    if (this.options.side === 'server') this.messages.call(opening.hello as Incoming)
  }

  send(message: Outgoing): Promise<void> {
    if (this.sender.waitingBytes > MOST_WAITING_MESSAGES * this.options.limits.maxMessageBytes)
      this.fail(readsNothing(this.sender.waitingBytes))
    if (this.ended) return Promise.reject(this.ended)
    return new Promise((resolve, reject) => {
      // Throws MESSAGE_TOO_LARGE, which rejects.
      const number = this.sender.add(packMessage(message, this.options.side))
      this.pending.set(number, { message, wireBytes: 0, resolve, reject })
      this.pump()
    })
  }

  onMessage(listener: (message: Incoming) => void): void {
    this.messages.set(listener)
  }

  onClose(listener: (reason: string, error: UserError | null) => void): void {
    this.closings.set(listener)
  }

  onTraffic(listener: (traffic: Traffic, message: Outgoing | Incoming) => void): void {
    this.traffic.add(listener)
  }

  async close(reason: string, error?: UserError): Promise<void> {
    this.shut(reason, error ?? null)
    await this.cleanUp
  }

  /** Closes with an error, which both ends are told. */
  fail(error: UserError): void {
    this.shut(error.message, error)
  }

  private shut(reason: string, error: UserError | null): void {
    if (this.ended) return
    // Ended first: a connection that breaks after it is not a lost one.
    const wire = this.wire
    wire?.send('closed', farewell(reason, error))
    this.end(reason, error)
    wire?.drop()
  }

  private end(reason: string, error: UserError | null): void {
    this.wire = null
    this.ended = error ?? closedError(reason)
    for (const pending of this.pending.values()) pending.reject(this.ended)
    this.pending.clear()
    this.cleanUp = this.options.onEnd?.()
    this.closings.call(reason, error)
  }

  /** What the other end did wrong closes the link; a bug of ours goes its way. */
  private guarded(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      if (error.code === 'TRANSFER_CORRUPT' && ++this.corruptChunks < CORRUPT_LIMIT) {
        // A new connection sends the chunk again: what is held ends before it.
        this.wire?.drop()
        this.detach()
      } else {
        this.fail(error)
      }
    }
  }

  private receiveChunk(chunk: Chunk): void {
    const wire = this.wire
    if (!wire) return
    const before = this.receiver.held()
    const accepted = this.receiver.accept(chunk)
    this.corruptChunks = 0
    const isNew = chunk.message === before.message && chunk.index === before.chunks
    if (isNew) this.arrivingBytes += chunkFrameBytes(chunk, this.peer) + ackFrameBytes(accepted.ack, this.options.side)
    const message = accepted.message && this.checked(accepted)
    wire.send('ack', AckFields.strip(accepted.ack))
    if (!message) return
    const wireBytes = this.arrivingBytes
    this.arrivingBytes = 0
    this.book(this.peer, message, wireBytes)
    this.messages.call(message)
  }

  private checked({ message }: Accepted): Incoming {
    return parse(this.options.schema, unpackMessage(message!, this.peer), 'a message')
  }

  private pump(): void {
    if (!this.wire) return
    for (let chunk = this.sender.next(); chunk; chunk = this.sender.next()) {
      const pending = this.pending.get(chunk.message)!
      const ack = { message: chunk.message, chunks: chunk.index + 1 }
      pending.wireBytes += chunkFrameBytes(chunk, this.options.side) + ackFrameBytes(ack, this.peer)
      this.wire.send('chunk', ChunkFields.strip(chunk))
    }
  }

  /** These messages are wholly held by the other end. */
  private settle(numbers: readonly number[]): void {
    for (const number of numbers) {
      const pending = this.pending.get(number)!
      this.pending.delete(number)
      this.book(this.options.side, pending.message, pending.wireBytes)
      pending.resolve()
    }
  }

  private book(from: Side, message: Outgoing | Incoming, wireBytes: number): void {
    const direction = from === 'client' ? 'up' : 'down'
    this.traffic.call({ direction, kind: trafficKind(message), payloadBytes: payloadBytes(message), wireBytes }, message)
  }
}

/** Listeners, of whom the first gets what came before it. */
class LateListener<Arguments extends readonly unknown[]> {
  private listeners: ((...args: Arguments) => void)[] = []
  private waiting: Arguments[] = []

  /** In place of those before. */
  set(listener: (...args: Arguments) => void): void {
    this.listeners = []
    this.add(listener)
  }

  add(listener: (...args: Arguments) => void): void {
    this.listeners.push(listener)
    const waiting = this.waiting
    this.waiting = []
    for (const args of waiting) listener(...args)
  }

  call(...args: Arguments): void {
    for (const listener of this.listeners) listener(...args)
    if (this.listeners.length === 0) this.waiting.push(args)
  }
}

/** What a closing end tells the other. */
export function farewell(reason: string, error: UserError | null): Closed {
  const clip = (text: string): string => text.slice(0, 4096)
  return {
    reason: clip(reason),
    error: error && { code: error.code, what: clip(error.what), why: clip(error.why), fix: clip(error.fix) },
  }
}

function closedError(reason: string): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: 'a message could not be delivered',
    why: `the link is closed (${reason})`,
    fix: 'look at the log of the other end for why it left, and start this one again',
  })
}

function readsNothing(bytes: number): UserError {
  return new UserError({
    code: 'CONNECTION_LOST',
    what: 'the link is given up',
    why: `the other end does not take in what it is sent: ${bytes} bytes wait for it`,
    fix: 'use a faster connection, or raise transport.max_inflight_bytes or the deadlines',
  })
}

/** @throws UserError MESSAGE_INVALID that names the first field that is wrong. */
export function parse<Output>(schema: z.ZodType<Output>, value: unknown, what: string): Output {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw invalid(`${what} has a wrong ${issue?.path.join('.') || 'form'}: ${issue?.message ?? 'it does not fit'}`)
}

function invalid(why: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the other end sent what this one does not understand',
    why,
    fix: 'make sure that both ends run the same version of cutlayer',
  })
}
