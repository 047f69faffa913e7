/**
 * @file The tokens of a server's clients, one for each id: what is kept of them, and what a shown one is worth. Pure.
 *
 * Kept is the SHA-256 of each token and nothing else of it. A token is 256 random bits, so nobody finds it by trying: what slow, salted hashes are for, words
 * that people choose, does not occur here, and no two tokens are alike, so a salt would tell nothing apart.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { ClientId } from '../../shared/protocol/client-id.js'

const TOKEN_BYTES = 32
const DAY_MS = 86_400_000
/** Tokens begin so, for those who look for secrets where none should be. */
const PREFIX = 'cutlayer_'

const Time = z.iso.datetime()

const TokenEntry = z.strictObject({
  id: ClientId,
  /** Of the token, in hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  created: Time,
  /** null: never. */
  expires: Time.nullable(),
  /** null: it was not. */
  revoked: Time.nullable(),
})
export type TokenEntry = z.infer<typeof TokenEntry>

/** What the file holds; its first key says what it is. */
export const TokenStore = z.strictObject({
  format: z.literal('cutlayer-tokens'),
  version: z.literal(1),
  tokens: z.array(TokenEntry).refine((entries) => new Set(entries.map(({ id }) => id)).size === entries.length, 'one token for each id'),
})
export type TokenStore = z.infer<typeof TokenStore>

export const EMPTY_STORE: TokenStore = { format: 'cutlayer-tokens', version: 1, tokens: [] }

export type TokenState = 'valid' | 'expired' | 'revoked'

export function stateOf({ revoked, expires }: TokenEntry, now: Date): TokenState {
  if (revoked !== null) return 'revoked'
  return expires !== null && Date.parse(expires) <= now.getTime() ? 'expired' : 'valid'
}

/** The entry of an id, whatever its state. */
export function entryOf({ tokens }: TokenStore, id: string): TokenEntry | null {
  return tokens.find((entry) => entry.id === id) ?? null
}

/**
 * A new token for an id, in place of one that is revoked or expired.
 * @returns null if the id has a valid one; else the store with it, and the token, which is nowhere else.
 */
export function withNewToken(
  store: TokenStore,
  id: string,
  { days, now }: { readonly days: number | null; readonly now: Date },
): { readonly store: TokenStore; readonly token: string; readonly entry: TokenEntry } | null {
  const before = entryOf(store, id)
  if (before && stateOf(before, now) === 'valid') return null
  const token = PREFIX + randomBytes(TOKEN_BYTES).toString('base64url')
  const expires = days === null ? null : new Date(now.getTime() + days * DAY_MS).toISOString()
  const entry = { id, sha256: digestOf(token).toString('hex'), created: now.toISOString(), expires, revoked: null }
  return { store: { ...store, tokens: [...store.tokens.filter((other) => other !== before), entry] }, token, entry }
}

/** @returns null if the id has no token that is not revoked yet. */
export function withRevoked(store: TokenStore, id: string, now: Date): TokenStore | null {
  const entry = entryOf(store, id)
  if (!entry || entry.revoked !== null) return null
  const revoked = { ...entry, revoked: now.toISOString() }
  return { ...store, tokens: store.tokens.map((other) => (other === entry ? revoked : other)) }
}

/** No digest of anything that somebody may show. */
const NOBODYS = randomBytes(32)

/** Whether that is the token of the entry, whatever its state. Takes the same time whichever it is, and whether or not there is an entry. */
export function isTokenOf(entry: TokenEntry | null, shown: string): boolean {
  return timingSafeEqual(digestOf(shown), entry ? Buffer.from(entry.sha256, 'hex') : NOBODYS)
}

export function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
