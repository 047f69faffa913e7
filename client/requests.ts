/**
 * @file A client's requests to the server: sends activations, and waits for the answer unless the server has gone on.
 */
import type { ClientLink, Traffic } from '../shared/protocol/link.js'
import { LinkTrace } from '../shared/protocol/link-trace.js'
import type { Activations, ClientMessage, Gradients, MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { silentTrace, traced, type Trace } from '../shared/trace.js'
import { FileRequests, type FileSource } from './file-requests.js'
import { LinkMeter } from './link-meter.js'
import { Mailbox } from './mailbox.js'
import type { Exchange, Stopwatch } from './steps.js'

/** The server gave up a step; its round goes on where `dropped` says. */
export class StepDropped extends Error {
  constructor(readonly dropped: MessageOf<'dropped'>) {
    super(dropped.reason)
  }
}

/** The server went on to another round or to its end. */
export class RoundAbandoned extends Error {}

/** Where a client's time goes in a round. */
export interface Seconds {
  compute: number
  wait: number
  network: number
}

export class Requests implements Exchange, Stopwatch {
  private readonly mail = new Mailbox<ServerMessage>()
  private readonly fileRequests: FileRequests
  private droppedStep: MessageOf<'dropped'> | null = null
  /** Numbers of the work that the server asked for last, and of that which is under way: they differ once it has gone on. */
  private latest = 0
  private running = 0
  private seconds: Seconds = { compute: 0, wait: 0, network: 0 }
  /** Whether activations are offered before they are sent: the server says so where it has no room for those of all. */
  asksFirst = false
  private readonly linkTrace: LinkTrace
  /** What the messages so far tell of the link. */
  readonly meter = new LinkMeter()

  /** @param name the client's, for the trace. */
  constructor(
    private readonly link: ClientLink,
    private readonly name: string,
    private readonly trace: Trace = silentTrace,
  ) {
    this.linkTrace = new LinkTrace(trace)
    this.fileRequests = new FileRequests(link, () => this.checkCurrent())
  }

  /** The model's files at the server. */
  get files(): FileSource {
    return this.fileRequests
  }

  // ---- the server goes on

  /** Gives up the work under way: at once if it waits for an answer, else when it next asks for one. @returns a number for the next. */
  supersede(why: string): number {
    this.mail.cancel(new RoundAbandoned(why))
    this.fileRequests.cancel(new RoundAbandoned(why))
    return ++this.latest
  }

  /** The work of that number is under way now. */
  begin(number: number): void {
    this.running = number
  }

  /** The server does not answer what belongs to a round that is over: waiting for it would be waiting for ever. @throws RoundAbandoned */
  checkCurrent(): void {
    if (this.running !== this.latest) throw new RoundAbandoned('the server went on')
  }

  /** @returns the stopwatch of the round that begins; steps dropped before are forgotten. */
  startRound(): Seconds {
    this.droppedStep = null
    this.seconds = { compute: 0, wait: 0, network: 0 }
    this.meter.startRound()
    return this.seconds
  }

  // ---- messages

  /** @returns whether a request waits for this message. */
  offer(message: ServerMessage): boolean {
    return this.fileRequests.offer(message) || this.mail.offer(message)
  }

  /** A step was dropped while nothing was asked for: the step's next request meets it. */
  drop(message: MessageOf<'dropped'>): void {
    this.droppedStep = message
  }

  send(message: Parameters<ClientLink['send']>[0]): Promise<void> {
    const sentAt = performance.now()
    return this.timed('network', async () => {
      await this.linkTrace.sent(`${this.name} network`, message, this.link.send(message))
      this.meter.delivered(message, (performance.now() - sentAt) / 1000)
    })
  }

  /** What a message cost that crossed the link. */
  booked(traffic: Traffic, message: ClientMessage | ServerMessage): void {
    this.linkTrace.booked(`${this.name} network`, message, traffic)
  }

  /** @throws StepDropped, RoundAbandoned, UserError if the link closes. */
  gradients(message: Activations, meanwhile?: () => void): Promise<Gradients | MessageOf<'resync'>> {
    return this.request<Gradients | MessageOf<'resync'>>(message, ['gradients', 'resync'], meanwhile)
  }

  /** @throws RoundAbandoned, UserError if the link closes. */
  loss(message: Activations): Promise<MessageOf<'loss'>> {
    return this.request<MessageOf<'loss'>>(message, ['loss'])
  }

  async computing<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.timed('compute', () => traced(this.trace, this.name, name, work))
  }

  private async request<Reply extends MessageOf<'gradients' | 'resync' | 'loss'>>(
    message: Activations,
    types: readonly [Reply['type'], ...Reply['type'][]],
    meanwhile: () => void = () => {},
  ): Promise<Reply> {
    this.checkCurrent()
    this.checkDropped(message)
    if (this.asksFirst) await this.askForRoom(message)
    // Listening begins before sending: the answer may come while the last chunk is being acknowledged.
    const reply = this.mail.next((answer) => answersRequest(answer, types, message) || dropsStep(answer, message))
    reply.catch(() => {})
    await this.send(message)
    // It has gone out: the answer takes a while, most of all where the server is busy with other clients.
    meanwhile()
    const answer = await this.timed('wait', () => traced(this.trace, this.name, `wait for ${types[0]}`, () => reply))
    if (answer.type === 'dropped') throw new StepDropped(answer)
    return answer as Reply
  }

  private async askForRoom(message: Activations): Promise<void> {
    const { purpose, round, attempt, step, micro } = message
    const answer = this.mail.next((given) => answersRequest(given, ['grant'], message) || dropsStep(given, message))
    answer.catch(() => {})
    await this.send({ type: 'offer', round, attempt, step, micro, purpose, tokens: message.hidden.shape[0] })
    const given = await this.timed('wait', () => traced(this.trace, this.name, 'wait for room', () => answer))
    if (given.type === 'dropped') throw new StepDropped(given)
  }

  private checkDropped({ purpose, round, attempt, step }: Activations): void {
    if (purpose !== 'train') return
    const dropped = this.droppedStep
    this.droppedStep = null
    // A client that computed for long may have missed several steps; the last word tells where to go on.
    if (dropped && dropped.round === round && dropped.attempt === attempt && dropped.step >= step) throw new StepDropped(dropped)
  }

  private async timed<T>(kind: keyof Seconds, work: () => Promise<T>): Promise<T> {
    const { seconds } = this
    const start = performance.now()
    try {
      return await work()
    } finally {
      seconds[kind] += (performance.now() - start) / 1000
    }
  }
}

type Place = Pick<Activations, 'round' | 'attempt' | 'step' | 'micro'>

function answersRequest(answer: ServerMessage, types: readonly string[], message: Activations): boolean {
  return types.includes(answer.type) && 'micro' in answer && sameRequest(answer, message)
}

function sameRequest(a: Place, b: Place): boolean {
  return a.round === b.round && a.attempt === b.attempt && a.step === b.step && a.micro === b.micro
}

function dropsStep(answer: ServerMessage, { purpose, round, attempt, step }: Activations): boolean {
  return purpose === 'train' && answer.type === 'dropped' && answer.round === round && answer.attempt === attempt && answer.step === step
}
