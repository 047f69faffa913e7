import { describe, expect, test } from 'vitest'
import { checkToken, stillHolds, type ClientTokens } from './rule.js'
import { EMPTY_STORE, entryOf, stateOf, TokenStore, withNewToken, withRevoked } from './store.js'

const NOON = new Date('2026-03-01T12:00:00.000Z')
const later = (days: number): Date => new Date(NOON.getTime() + days * 86_400_000)

function storeOf(...ids: string[]): { store: TokenStore; tokens: Map<string, string> } {
  let store = EMPTY_STORE
  const tokens = new Map<string, string>()
  for (const id of ids) {
    const made = withNewToken(store, id, { days: 30, now: NOON })!
    store = made.store
    tokens.set(id, made.token)
  }
  return { store, tokens }
}

const ruleOf = (store: TokenStore): ClientTokens => ({ entryOf: (client) => entryOf(store, client) })
const why = (rule: ClientTokens, client: string, token: string | null, now = NOON): string | null => {
  try {
    checkToken(rule, { client, token }, now)
    return null
  } catch (error) {
    expect(error).toMatchObject({ code: 'TOKEN_REFUSED', what: `client ${client} cannot join` })
    return (error as { why: string }).why
  }
}

describe('a store', () => {
  test('holds 256 random bits for each client, as their digest and in no other form', () => {
    const { store, tokens } = storeOf('ada', 'bob')
    for (const token of tokens.values()) {
      expect(Buffer.from(token.replace('cutlayer_', ''), 'base64url')).toHaveLength(32)
      expect(JSON.stringify(store)).not.toContain(token)
      expect(JSON.stringify(store)).not.toContain(token.slice(9, 20))
    }
    expect(new Set(tokens.values()).size).toBe(2)
    expect(TokenStore.parse(JSON.parse(JSON.stringify(store)))).toEqual(store)
  })

  test('gives a client no second token while the first is valid, and a new one afterwards', () => {
    const { store, tokens } = storeOf('ada')
    expect(withNewToken(store, 'ada', { days: null, now: NOON })).toBeNull()
    const expired = withNewToken(store, 'ada', { days: null, now: later(30) })!
    const revoked = withNewToken(withRevoked(store, 'ada', NOON)!, 'ada', { days: null, now: NOON })!
    for (const { store: renewed, token } of [expired, revoked]) {
      expect(renewed.tokens).toHaveLength(1)
      expect(token).not.toBe(tokens.get('ada'))
      expect(stateOf(renewed.tokens[0], later(30_000))).toBe('valid')
    }
  })

  test('revokes a token once, and no other', () => {
    const { store } = storeOf('ada', 'bob')
    const revoked = withRevoked(store, 'ada', NOON)!
    expect(revoked.tokens.map((entry) => stateOf(entry, NOON))).toEqual(['revoked', 'valid'])
    expect(withRevoked(revoked, 'ada', NOON)).toBeNull()
    expect(withRevoked(revoked, 'eve', NOON)).toBeNull()
  })

  test.each([
    ['two tokens for one id', (store: TokenStore) => ({ ...store, tokens: [store.tokens[0], store.tokens[0]] })],
    ['a key that nobody knows', (store: TokenStore) => ({ ...store, comment: '' })],
    ['a digest that is none', (store: TokenStore) => ({ ...store, tokens: [{ ...store.tokens[0], sha256: 'x' }] })],
    ['an id that names no client', (store: TokenStore) => ({ ...store, tokens: [{ ...store.tokens[0], id: '../up' }] })],
    ['a time that is none', (store: TokenStore) => ({ ...store, tokens: [{ ...store.tokens[0], expires: 'soon' }] })],
  ])('with %s is none', (_, change) => {
    expect(TokenStore.safeParse(change(storeOf('ada').store)).success).toBe(false)
  })
})

describe('a client', () => {
  const { store, tokens } = storeOf('ada', 'bob')
  const [ada, bob] = [tokens.get('ada')!, tokens.get('bob')!]

  test('is let in with its own token, until that expires', () => {
    expect(why(ruleOf(store), 'ada', ada)).toBeNull()
    expect(why(ruleOf(store), 'ada', ada, later(29.999))).toBeNull()
    expect(why(ruleOf(store), 'ada', ada, later(30))).toBe('its token expired on 2026-03-31')
  })

  test('is told that its token was revoked, and only who has the token is told', () => {
    const rule = ruleOf(withRevoked(store, 'ada', later(1))!)
    expect(why(rule, 'ada', ada)).toBe('its token was revoked on 2026-03-02')
    expect(why(rule, 'ada', bob)).toBe('its token is not that of ada')
  })

  test.each([
    ['the token of another', 'ada', bob],
    ['a token that is nobody’s', 'ada', `${ada}x`],
    ['an empty one', 'ada', ''],
    ['an id that has none, which is not told', 'eve', ada],
  ])('with %s is refused', (_, client, token) => {
    expect(why(ruleOf(store), client, token)).toBe(`its token is not that of ${client}`)
  })

  test('without a token is refused, whether or not its id has one', () => {
    for (const client of ['ada', 'eve']) expect(why(ruleOf(store), client, null)).toBe('it showed no token, and this server asks for one')
  })

  test('that was let in is put out once its token is revoked, expires, is another or is gone', () => {
    const digest = checkToken(ruleOf(store), { client: 'ada', token: ada }, NOON)
    const outcome = (now: TokenStore, at = NOON): string | null => {
      try {
        stillHolds(ruleOf(now), 'ada', digest, at)
        return null
      } catch (error) {
        return (error as { why: string }).why
      }
    }
    expect(outcome(store)).toBeNull()
    expect(outcome(store, later(31))).toBe('its token expired on 2026-03-31')
    const revoked = withRevoked(store, 'ada', NOON)!
    expect(outcome(revoked)).toBe('its token was revoked on 2026-03-01')
    expect(outcome(withNewToken(revoked, 'ada', { days: null, now: NOON })!.store)).toBe('its token has been taken away')
    expect(outcome(EMPTY_STORE)).toBe('its token has been taken away')
  })
})
