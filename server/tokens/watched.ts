/**
 * @file The token file that a config names: a token for all clients, or a store, which is read again whenever it has changed.
 */
import { statSync } from 'node:fs'
import { UserError } from '../../shared/errors.js'
import { readToken } from '../../shared/token-file.node.js'
import { LOOK_MS, stampOf } from '../file-stamp.js'
import type { ClientId } from '../round-state.js'
import type { ClientTokens, TokenRule } from './rule.js'
import { readStore } from './store-file.js'
import type { TokenEntry, TokenStore } from './store.js'

/** @throws UserError BAD_ARGUMENT if there is neither a token nor a store in it. */
export async function openTokens(path: string): Promise<TokenRule | WatchedTokens> {
  // What is no file at all, or out of reach, is for the other reader to say.
  const store = isFile(path) ? readStore(path) : null
  return store === null ? readToken(path) : new WatchedTokens(path, store)
}

/** A store that is looked at for each question, and read again if its file is another than before. A file that cannot be read changes nothing. */
export class WatchedTokens implements ClientTokens {
  private entries: ReadonlyMap<string, TokenEntry>
  /** Nothing yet: of a change between the reading and a first look that look would know nothing. */
  private seen = ''
  private timer: NodeJS.Timeout | null = null
  private trouble: UserError | null = null

  constructor(
    private readonly path: string,
    store: TokenStore,
  ) {
    this.entries = byId(store)
  }

  entryOf(client: ClientId): TokenEntry | null {
    this.refresh()
    return this.entries.get(client) ?? null
  }

  /**
   * Looks every second, until `close`: so long a client that is connected may go on once its token is revoked or expires.
   * @param onLook is told each time: tokens may have been revoked, and some expire by themselves.
   * @param onTrouble is told once of a file that cannot be read any more; the tokens before it stay in force.
   */
  watch(onLook: () => void, onTrouble: (error: UserError) => void): void {
    let told: UserError | null = null
    this.timer = setInterval(() => {
      this.refresh()
      if (this.trouble && !told) onTrouble(this.trouble)
      told = this.trouble
      onLook()
    }, LOOK_MS)
    this.timer.unref()
  }

  close(): void {
    if (this.timer) clearInterval(this.timer)
  }

  private refresh(): void {
    const look = stampOf(this.path)
    if (look === this.seen) return
    this.seen = look
    try {
      const store = readStore(this.path)
      if (store === null) throw new UserError({ ...GONE, what: `${this.path} holds no tokens any more`, why: 'it holds something else' })
      this.entries = byId(store)
      this.trouble = null
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.trouble = error
    }
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

const GONE = { code: 'BAD_ARGUMENT', fix: 'put the file back; `cutlayer token list` shows what is in it' } as const

function byId({ tokens }: TokenStore): ReadonlyMap<string, TokenEntry> {
  return new Map(tokens.map((entry) => [entry.id, entry]))
}
