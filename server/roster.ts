/**
 * @file The clients that are connected: their links, and the last answer of each, which a repeated request gets again.
 */
import { UserError } from '../shared/errors.js'
import type { ServerLink } from '../shared/protocol/link.js'
import type { Activations, ServerMessage } from '../shared/protocol/messages.js'
import type { ClientId } from './round-state.js'

interface Connected {
  readonly link: ServerLink
  /** The request that is being worked on. */
  asked: string | null
  answered: { readonly request: string; readonly reply: ServerMessage } | null
}

export class Roster {
  private readonly clients = new Map<ClientId, Connected>()

  /** @param onUndeliverable a message is larger than the link carries; a link that closes tells so itself. */
  constructor(private readonly onUndeliverable: (client: ClientId, link: ServerLink, error: UserError) => void) {}

  get ids(): readonly ClientId[] {
    return [...this.clients.keys()]
  }

  add(client: ClientId, link: ServerLink): void {
    this.clients.set(client, { link, asked: null, answered: null })
  }

  /** @returns whether it was there. */
  remove(client: ClientId): boolean {
    return this.clients.delete(client)
  }

  linkOf(client: ClientId): ServerLink | null {
    return this.clients.get(client)?.link ?? null
  }

  /** Sends to a client that may just be leaving; its link then closes, which is what counts. */
  send(client: ClientId, message: ServerMessage): void {
    const link = this.linkOf(client)
    link?.send(message).catch((error: unknown) => {
      if (error instanceof UserError && error.code === 'MESSAGE_TOO_LARGE') this.onUndeliverable(client, link, error)
    })
  }

  /** Notes the request that is being worked on; @returns false for a repeat of it. */
  begin(client: ClientId, request: string): boolean {
    const connected = this.clients.get(client)
    if (!connected || connected.asked === request) return false
    connected.asked = request
    return true
  }

  /** Answers a request that was answered before; @returns false if it was not the last one. */
  answerAgain(client: ClientId, request: string): boolean {
    const answered = this.clients.get(client)?.answered
    if (answered?.request !== request) return false
    this.send(client, answered.reply)
    return true
  }

  /** Sends the answer to a request, and keeps it until the client's next one is answered. */
  answer(client: ClientId, request: string, reply: ServerMessage): void {
    const connected = this.clients.get(client)
    if (connected) connected.answered = { request, reply }
    this.send(client, reply)
  }

  /** Says the last word to every client and closes its link; a client that cannot be reached keeps no other waiting. */
  async dismiss(last: Farewell): Promise<void> {
    const links = [...this.clients.values()].map(({ link }) => link)
    this.clients.clear()
    await Promise.all(links.map((link) => farewell(link, last)))
  }
}

/** The last word on a link. */
export interface Farewell {
  readonly reason: string
  readonly message: ServerMessage
  readonly error: UserError | null
}

/** How long the end of a run waits for a client whose connection is broken just then. */
const FAREWELL_MS = 5000

/** Sends the last message of a link, and closes it once the other end holds it, or is gone for too long to wait. */
export async function farewell(link: ServerLink, { reason, message, error }: Farewell): Promise<void> {
  let impatience: NodeJS.Timeout | undefined
  const patience = new Promise<void>((resolve) => (impatience = setTimeout(resolve, FAREWELL_MS)))
  await Promise.race([link.send(message).catch(() => {}), patience]) // it may be gone already
  clearTimeout(impatience)
  await link.close(reason, error ?? undefined)
}

/** Tells requests apart: a repeat has the same key. */
export function requestKey({
  purpose,
  round,
  attempt,
  step,
  micro,
}: Pick<Activations, 'purpose' | 'round' | 'attempt' | 'step' | 'micro'>): string {
  return `${purpose}/${round}/${attempt}/${step}/${micro}`
}
