/**
 * @file What a server asks for before it lets a client in: nothing, a token that all clients share, or each client's own.
 */
import { timingSafeEqual } from 'node:crypto'
import { UserError } from '../../shared/errors.js'
import type { ClientId } from '../round-state.js'
import { digestOf, isTokenOf, stateOf, type TokenEntry } from './store.js'

/** The tokens of the clients as they are now: one may be revoked while a run goes on. */
export interface ClientTokens {
  entryOf(client: ClientId): TokenEntry | null
}

/** null: no token is asked for; text: every client has to show this one. */
export type TokenRule = null | string | ClientTokens

/** Who shows a token of its own is that client, and no other. */
export function isOwn(rule: TokenRule): rule is ClientTokens {
  return typeof rule === 'object' && rule !== null
}

interface Shown {
  readonly client: ClientId
  readonly token: string | null
}

/**
 * @returns the digest of the client's own token, in hexadecimal, by which `stillHolds` knows it; null where there are none.
 * @throws UserError TOKEN_REFUSED. Whether an id is known is told only to who has its token.
 */
export function checkToken(rule: TokenRule, { client, token }: Shown, now = new Date()): string | null {
  if (rule === null) return null
  const none = 'it showed no token, and this server asks for one'
  if (!isOwn(rule)) {
    if (timingSafeEqual(digestOf(token ?? ''), digestOf(rule))) return null
    throw refused(client, token === null ? none : 'its token is not that of this server', "the server's token file")
  }
  const entry = rule.entryOf(client)
  const ownFile = `a file with the token that \`cutlayer token create ${client}\` made for it at the server`
  if (!isTokenOf(entry, token ?? '') || !entry) throw refused(client, token === null ? none : `its token is not that of ${client}`, ownFile)
  const why = whyNot(entry, now)
  if (why !== null) throw refused(client, why, ownFile)
  return entry.sha256
}

/** Looks again at the token of a client that was let in. @throws UserError TOKEN_REFUSED if it is no longer valid. */
export function stillHolds(rule: TokenRule, client: ClientId, sha256: string | null, now = new Date()): void {
  if (!isOwn(rule)) return
  const entry = rule.entryOf(client)
  const why = entry === null || entry.sha256 !== sha256 ? 'its token has been taken away' : whyNot(entry, now)
  if (why === null) return
  throw new UserError({
    code: 'TOKEN_REFUSED',
    what: `client ${client} is out of the run`,
    why,
    fix: 'ask whoever runs the server for a new token',
  })
}

function whyNot(entry: TokenEntry, now: Date): string | null {
  switch (stateOf(entry, now)) {
    case 'valid':
      return null
    case 'expired':
      return `its token expired on ${entry.expires!.slice(0, 10)}`
    case 'revoked':
      return `its token was revoked on ${entry.revoked!.slice(0, 10)}`
  }
}

function refused(client: ClientId, why: string, file: string): UserError {
  return new UserError({ code: 'TOKEN_REFUSED', what: `client ${client} cannot join`, why, fix: `start it with --token-file and ${file}` })
}
