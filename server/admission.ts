/**
 * @file Who may join a run, and which part of its data a client gets.
 */
import { timingSafeEqual } from 'node:crypto'
import { UserError } from '../shared/errors.js'
import { partNames } from '../shared/protocol/codec/name.js'
import { PROTOCOL_VERSION, type MessageOf, type Part } from '../shared/protocol/messages.js'
import type { ClientId } from './round-state.js'
import { checkToken, isOwn, stillHolds, type TokenRule } from './tokens/rule.js'
import { digestOf } from './tokens/store.js'

export interface AdmissionRules {
  readonly token: TokenRule
  /** Clients of the run; also the number of parts its data has. */
  readonly clients: number
  /** Names of the codecs that a client may be told to use. */
  readonly codecs: (client: ClientId) => readonly string[]
  /** Whether one client holds all the data. */
  readonly undivided: boolean
  /** Whether each client's id names a folder of its own: ids that differ only in case would share it on many systems. */
  readonly namesFolders?: boolean
}

export class Admission {
  /** Parts by client, kept for the whole run. null: it brings data of its own, or holds all. */
  private readonly parts = new Map<ClientId, Part | null>()
  /** Digests of the secrets that the present process under each id showed, or the last one. */
  private readonly secrets = new Map<ClientId, Buffer | null>()
  /** Digests of the tokens of their own that they showed. */
  private readonly tokens = new Map<ClientId, string | null>()

  /** @param known of a run that goes on: who was in it, and with which part. */
  constructor(
    private readonly rules: AdmissionRules,
    known: Iterable<readonly [ClientId, Part | null]> = [],
  ) {
    for (const [client, part] of known) this.parts.set(client, part)
  }

  /** Who has been let in so far, by order of first joining, and which part each has. */
  get members(): ReadonlyMap<ClientId, Part | null> {
    return this.parts
  }

  /** Who has been let in, once nobody else can be; null before. */
  clientsIfFull(): readonly ClientId[] | null {
    return this.parts.size < this.rules.clients ? null : [...this.parts.keys()]
  }

  /**
   * Lets a client in, and gives it its part: the one it asks for, or the first that nobody has, by order of first joining.
   * @param isPresent as for `check`
   * @throws UserError as `check`.
   */
  admit(hello: MessageOf<'hello'>, isPresent = false): Part | null {
    this.check(hello, isPresent)
    const { client, secret } = hello
    this.tokens.set(client, this.checkToken(hello))
    this.secrets.set(client, secret === null ? null : digestOf(secret))
    const known = this.parts.get(client)
    if (known !== undefined) return known
    const part = this.partFor(hello)
    this.parts.set(client, part)
    return part
  }

  /**
   * Whether a client may join. Changes nothing.
   * @param isPresent whether there is a link under its id already, whose place it would take. It may if it shows what only the same client can: without
   *   that, whoever knows the token of all clients could push any of them out.
   * @throws UserError PROTOCOL_VERSION_DIFFERS, TOKEN_REFUSED, RUN_FULL, CLIENT_ID_IN_USE, MESSAGE_INVALID
   */
  check({ protocol, client, token, secret, capabilities }: MessageOf<'hello'>, isPresent = false): void {
    if (protocol !== PROTOCOL_VERSION)
      throw new UserError({
        code: 'PROTOCOL_VERSION_DIFFERS',
        what: `client ${client} cannot join`,
        why: `it speaks protocol version ${protocol}, and the server speaks ${PROTOCOL_VERSION}`,
        fix: 'install the same version of cutlayer on both',
      })
    this.checkToken({ client, token })
    if (isPresent && !isOwn(this.rules.token) && !this.isSameClient(client, secret)) throw isTaken(client)
    const unknown = this.rules
      .codecs(client)
      .flatMap(partNames)
      .find((part) => !capabilities.codecs.includes(part))
    if (unknown !== undefined)
      throw new UserError({
        code: 'MESSAGE_INVALID',
        what: `client ${client} cannot join`,
        why: `this run packs tensors with ${unknown}, and the client knows ${capabilities.codecs.join(', ')}`,
        fix: 'install the same version of cutlayer on both',
      })
    if (!this.parts.has(client) && this.parts.size >= this.rules.clients)
      throw new UserError({
        code: 'RUN_FULL',
        what: `client ${client} cannot join`,
        why: `this run has ${this.rules.clients} client(s): ${[...this.parts.keys()].join(', ')}`,
        fix: 'join under the id of one that has left, or raise federation.num_clients',
      })
    const alike = this.rules.namesFolders && !this.parts.has(client) ? this.differingInCase(client) : undefined
    if (alike !== undefined)
      throw new UserError({
        code: 'CLIENT_ID_IN_USE',
        what: `client ${client} cannot join`,
        why: `${alike} is in the run, and the folders of their adapters would differ only in case`,
        fix: 'give it an id that differs in more',
      })
  }

  /** @returns what `recheck` goes by. @throws UserError TOKEN_REFUSED */
  checkToken({ client, token }: Pick<MessageOf<'hello'>, 'client' | 'token'>): string | null {
    return checkToken(this.rules.token, { client, token })
  }

  /** Looks again at a client that was let in. @throws UserError TOKEN_REFUSED if its token is no longer valid. */
  recheck(client: ClientId): void {
    stillHolds(this.rules.token, client, this.tokens.get(client) ?? null)
  }

  private isSameClient(client: ClientId, secret: string | null): boolean {
    const known = this.secrets.get(client) ?? null
    return known !== null && secret !== null && timingSafeEqual(digestOf(secret), known)
  }

  private differingInCase(client: ClientId): ClientId | undefined {
    return [...this.parts.keys()].find((other) => other !== client && other.toLowerCase() === client.toLowerCase())
  }

  private partFor({ own_data, part }: MessageOf<'hello'>): Part | null {
    if (own_data || this.rules.undivided) return null
    if (part) return part
    const taken = new Set([...this.parts.values()].map((other) => other?.index))
    const index = Array.from({ length: this.rules.clients }, (_, i) => i).find((i) => !taken.has(i))
    return { index: index ?? 0, count: this.rules.clients }
  }
}

function isTaken(client: ClientId): UserError {
  return new UserError({
    code: 'CLIENT_ID_IN_USE',
    what: `client ${client} cannot join`,
    why: 'a process under that id is in the run, and this one shows nothing that only the same client could',
    fix: 'choose another id; if it is your own client, started again without its state folder, wait until the server has given up the old process (federation.reconnect_s)',
  })
}
