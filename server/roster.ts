/**
 * @file The clients that are connected: their links, and the last answer of each, which a repeated request gets again.
 */
import { UserError } from '../shared/errors.js'
import type { ServerLink, Traffic } from '../shared/protocol/link.js'
import { LinkTrace } from '../shared/protocol/link-trace.js'
import type { Activations, ClientMessage, MessageOf, ServerMessage } from '../shared/protocol/messages.js'
import { silentTrace, type Trace } from '../shared/trace.js'
import type { ClientId } from './round-state.js'

interface Connected {
  readonly link: ServerLink
  /** The request that is being worked on. */
  asked: string | null
  answered: Answer | null
  /** Whether work is on its way, with an adapter, that the client does not hold yet; and what it is to do after that. */
  isWorkUnderWay: boolean
  nextWork: Work | null
}

/** What carries an adapter, and has the client give up what it was told before. */
type Work = MessageOf<'round-start' | 'evaluate'>

interface Answer {
  readonly request: string
  readonly reply: ServerMessage
  /** Whether the client does not hold it yet; it will come to, or the link close. */
  isUnderWay: boolean
}

export class Roster {
  private readonly clients = new Map<ClientId, Connected>()
  private readonly linkTrace: LinkTrace

  /**
   * @param onUndeliverable a message is larger than the link carries; a link that closes tells so itself.
   * @param onSending a message goes out; what it returns is called once the client holds it.
   */
  constructor(
    private readonly onUndeliverable: (client: ClientId, link: ServerLink, error: UserError) => void,
    trace: Trace = silentTrace,
    private readonly onSending: (client: ClientId, message: ServerMessage) => () => void = () => () => {},
  ) {
    this.linkTrace = new LinkTrace(trace)
  }

  get ids(): readonly ClientId[] {
    return [...this.clients.keys()]
  }

  add(client: ClientId, link: ServerLink): void {
    this.clients.set(client, { link, asked: null, answered: null, isWorkUnderWay: false, nextWork: null })
  }

  /** @returns whether it was there. */
  remove(client: ClientId): boolean {
    return this.clients.delete(client)
  }

  linkOf(client: ClientId): ServerLink | null {
    return this.clients.get(client)?.link ?? null
  }

  /**
   * Sends to a client that may just be leaving; its link then closes, which is what counts. One that does not read gets no more work than it holds: of all
   * that it is told meanwhile only the last waits for it, and not as bytes.
   */
  send(client: ClientId, message: ServerMessage): void {
    const connected = this.clients.get(client)
    if (!connected) return
    if (message.type === 'round-start' || message.type === 'evaluate') return this.sendWork(client, connected, message)
    // Work of a round that is over is none.
    if (message.type === 'round-end' && connected.nextWork && connected.nextWork.round <= message.round) connected.nextWork = null
    void this.deliver(client, message)
  }

  private sendWork(client: ClientId, connected: Connected, message: Work): void {
    if (connected.isWorkUnderWay) {
      connected.nextWork = message
      return
    }
    connected.isWorkUnderWay = true
    void this.deliver(client, message).then(() => {
      connected.isWorkUnderWay = false
      const next = connected.nextWork
      connected.nextWork = null
      if (next && this.clients.get(client) === connected) this.sendWork(client, connected, next)
    })
  }

  private sendAnswer(client: ClientId, answer: Answer): void {
    answer.isUnderWay = true
    void this.deliver(client, answer.reply).then(() => (answer.isUnderWay = false))
  }

  private async deliver(client: ClientId, message: ServerMessage): Promise<void> {
    const link = this.linkOf(client)
    if (!link) return
    const onDelivered = this.onSending(client, message)
    await this.linkTrace.sent(trackOf(client), message, link.send(message)).then(onDelivered, (error: unknown) => {
      if (error instanceof UserError && error.code === 'MESSAGE_TOO_LARGE') this.onUndeliverable(client, link, error)
    })
  }

  /** What a message cost that crossed a client's link, for the trace. */
  booked(client: ClientId, traffic: Traffic, message: ClientMessage | ServerMessage): void {
    this.linkTrace.booked(trackOf(client), message, traffic)
  }

  /** The request of this client that is being worked on. */
  askedBy(client: ClientId): string | null {
    return this.clients.get(client)?.asked ?? null
  }

  /** Notes the request that is being worked on. */
  begin(client: ClientId, request: string): void {
    const connected = this.clients.get(client)
    if (connected) connected.asked = request
  }

  /** Answers a request that was answered before; @returns false if it was not the last one. */
  answerAgain(client: ClientId, request: string): boolean {
    const answered = this.clients.get(client)?.answered
    if (answered?.request !== request) return false
    // A client that asks again and again and reads nothing must not fill the server's memory.
    if (!answered.isUnderWay) this.sendAnswer(client, answered)
    return true
  }

  /** Sends the answer to a request, and keeps it until the client's next one is answered. */
  answer(client: ClientId, request: string, reply: ServerMessage): void {
    const connected = this.clients.get(client)
    if (!connected) return
    connected.answered = { request, reply, isUnderWay: false }
    if (connected.asked === request) connected.asked = null
    this.sendAnswer(client, connected.answered)
  }

  /** Forgets the answers of a round that is over: nobody asks for them again, and each may be as large as a batch's activations. */
  forgetAnswers(): void {
    for (const connected of this.clients.values()) connected.answered = null
  }

  /** Says the last word to every client and closes its link; a client that cannot be reached keeps no other waiting. */
  async dismiss(last: Farewell): Promise<void> {
    const links = [...this.clients.values()].map(({ link }) => link)
    this.clients.clear()
    await Promise.all(links.map((link) => farewell(link, last)))
  }
}

function trackOf(client: ClientId): string {
  return `server network, ${client}`
}

/** The last word on a link. */
export interface Farewell {
  readonly reason: string
  readonly message: ServerMessage
  readonly error: UserError | null
  /** Whether somebody waits for the end. */
  readonly isHurried?: boolean
}

/** How long the end of a run waits for a client whose connection is broken just then. */
const FAREWELL_MS = 5000
const HURRIED_FAREWELL_MS = 2000

/** Sends the last message of a link, and closes it once the other end holds it, or is gone for too long to wait. */
export async function farewell(link: ServerLink, { reason, message, error, isHurried = false }: Farewell): Promise<void> {
  let impatience: NodeJS.Timeout | undefined
  const patience = new Promise<void>((resolve) => (impatience = setTimeout(resolve, isHurried ? HURRIED_FAREWELL_MS : FAREWELL_MS)))
  await Promise.race([link.send(message).catch(() => {}), patience]) // it may be gone already
  clearTimeout(impatience)
  await link.close(reason, error ?? undefined)
}

/** Tells requests apart: a repeat has the same key. */
export function requestKey(request: Pick<Activations, 'purpose' | 'round' | 'attempt' | 'step' | 'micro'>): string {
  return `${requestPrefix(request)}${request.step}/${request.micro}`
}

/** What the keys of all requests of one round's training, or evaluation, begin with. */
export function requestPrefix({ purpose, round, attempt }: Pick<Activations, 'purpose' | 'round' | 'attempt'>): string {
  return `${purpose}/${round}/${attempt}/`
}
