import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCommandLine } from '../../shared/command-line/frame.node.js'
import { commands } from './command.js'
import { checkToken } from './rule.js'
import { openTokens, WatchedTokens } from './watched.js'

let folder: string
let store: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tokens-'))
  store = join(folder, 'tokens.json')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

interface Typed {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

async function type(...args: string[]): Promise<Typed> {
  const written = { stdout: '', stderr: '' }
  const streams = {
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    environment: {},
  }
  const line = ['token', ...args, '--file', store]
  return { status: await runCommandLine({ version: '0', summary: '', commands }, line, streams, () => undefined), ...written }
}

async function script(...args: string[]): Promise<{ status: string; data: Record<string, unknown>; error: Record<string, string> }> {
  return JSON.parse((await type(...args, '--format', 'json')).stdout.trimEnd().split('\n').at(-1)!) as never
}

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

async function opened(): Promise<WatchedTokens> {
  const rule = await openTokens(store)
  if (!(rule instanceof WatchedTokens)) throw new Error('this is no store')
  return rule
}

describe('token create', () => {
  test('shows the token once, alone on stdout, and the store admits it', async () => {
    const { status, stdout, stderr } = await type('create', 'ada')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^cutlayer_[\w-]{43}\n$/)
    expect(stderr).toContain('shown this once')
    expect(await readFile(store, 'utf8')).not.toContain(stdout.trim())
    const rule = await opened()
    expect(() => checkToken(rule, { client: 'ada', token: stdout.trim() })).not.toThrow()
    expect(() => checkToken(rule, { client: 'bob', token: stdout.trim() })).toThrow('is not that of bob')
  })

  test('leaves files that only their owner can read, and no others', async () => {
    const out = join(folder, 'ada.token')
    const { stdout } = await type('create', 'ada', '--out', out)
    const token = (await readFile(out, 'utf8')).trim()
    expect(stdout).not.toContain(token)
    expect([await modeOf(out), await modeOf(store)]).toEqual([0o600, 0o600])
    await type('create', 'bob')
    expect(await modeOf(store)).toBe(0o600)
    expect((await readdir(folder)).sort()).toEqual(['ada.token', 'tokens.json'])
    const rule = await opened()
    expect(() => checkToken(rule, { client: 'ada', token })).not.toThrow()
  })

  test('gives scripts the token, or the file that has it', async () => {
    const shown = await script('create', 'ada', '--expires', '30')
    expect(shown.data).toEqual({
      id: 'ada',
      file: store,
      created: expect.any(String) as string,
      expires: expect.any(String) as string,
      token: expect.stringMatching(/^cutlayer_/) as string,
    })
    expect(Date.parse(String(shown.data.expires)) - Date.parse(String(shown.data.created))).toBe(30 * 86_400_000)
    const out = join(folder, 'bob.token')
    const kept = await script('create', 'bob', '--out', out)
    expect(kept.data).toMatchObject({ id: 'bob', out, expires: null })
    expect(kept.data).not.toHaveProperty('token')
  })

  test('by several processes at once loses none of them', async () => {
    const ids = Array.from({ length: 8 }, (_, index) => `client-${index}`)
    expect((await Promise.all(ids.map((id) => type('create', id)))).map(({ status }) => status)).toEqual(ids.map(() => 0))
    const { data } = await script('list')
    expect((data.tokens as { id: string }[]).map(({ id }) => id).sort()).toEqual(ids)
  })

  test('refuses a second token for an id, and neither it nor a full or taken place leaves anything behind', async () => {
    await type('create', 'ada')
    const before = await readFile(store, 'utf8')
    const out = join(folder, 'ada.token')
    expect((await script('create', 'ada', '--out', out)).error).toMatchObject({ code: 'BAD_ARGUMENT', what: 'no token was made for ada' })
    await writeFile(join(folder, 'taken'), 'of somebody')
    expect((await script('create', 'bob', '--out', join(folder, 'taken'))).error).toMatchObject({ code: 'OUTPUT_UNWRITABLE' })
    expect((await script('create', 'bob', '--out', join(folder, 'nowhere', 'x'))).error).toMatchObject({ code: 'OUTPUT_UNWRITABLE' })
    expect(await readFile(store, 'utf8')).toBe(before)
    expect(await readFile(join(folder, 'taken'), 'utf8')).toBe('of somebody')
    expect((await readdir(folder)).sort()).toEqual(['taken', 'tokens.json'])
  })
})

describe('token list and revoke', () => {
  test('show who has a token and how it is, and nothing of the tokens', async () => {
    const token = (await type('create', 'ada')).stdout.trim()
    await type('create', 'bob', '--expires', '7')
    expect((await type('revoke', 'ada')).stdout).toContain('the token of ada is revoked')
    const { stdout } = await type('list')
    expect(stdout).toMatch(/^ada {2}revoked {2}created \d{4}-\d\d-\d\d, revoked \d{4}-\d\d-\d\d\nbob {2}valid {4}created .*, expires .*\n$/)
    const { data } = await script('list')
    expect(data.tokens).toMatchObject([
      { id: 'ada', state: 'revoked', expires: null },
      { id: 'bob', state: 'valid', revoked: null },
    ])
    expect(stdout + JSON.stringify(data)).not.toContain(token)
    expect(JSON.stringify(data)).not.toMatch(/[0-9a-f]{64}/)
  })

  test('is heard of by whoever has opened the store before', async () => {
    const token = (await type('create', 'ada')).stdout.trim()
    const rule = await opened()
    expect(() => checkToken(rule, { client: 'ada', token })).not.toThrow()
    await type('revoke', 'ada')
    expect(() => checkToken(rule, { client: 'ada', token })).toThrow('was revoked')
    const again = (await type('create', 'ada')).stdout.trim()
    expect(() => checkToken(rule, { client: 'ada', token })).toThrow('is not that of ada')
    expect(() => checkToken(rule, { client: 'ada', token: again })).not.toThrow()
  })

  test.each([
    ['revoke', ['revoke', 'eve'], 'there is no token of eve'],
    ['revoke', ['revoke', '../up'], 'cannot name a client'],
    ['create', ['create', 'a b'], 'cannot name a client'],
    ['create', ['create', 'eve', '--expires', '0'], '--expires has a wrong value'],
  ])('%s says what is wrong with its words', async (_, args, what) => {
    await type('create', 'ada')
    const { error } = await script(...args)
    expect(error).toMatchObject({ code: 'BAD_ARGUMENT' })
    expect(error.what).toContain(what)
  })
})

describe('a file that is no store', () => {
  test.each([
    ['is not there', null, 'there is no such file'],
    ['is cut off', '{"format": "cutlayer-tokens", "version"', 'no whole JSON'],
    ['is another program’s', '{"private_key": "secret"}', 'it has a wrong format'],
    ['is of a newer version', '{"format": "cutlayer-tokens", "version": 2, "users": {}}', 'version 2, which a newer cutlayer wrote'],
  ])('because it %s is told by name, and stays as it is', async (_, content, why) => {
    if (content !== null) await writeFile(store, content)
    const refused = await script('list')
    expect(refused.error.why).toContain(why)
    expect(JSON.stringify(refused)).not.toContain('secret')
    expect((await script('revoke', 'ada')).error.why).toContain(why)
    if (content === null) return
    expect((await script('create', 'ada')).error.why).toContain(why)
    expect(await readFile(store, 'utf8')).toBe(content)
  })

  test('but a token that all share is not taken for one, nor overwritten', async () => {
    await writeFile(store, 'open-sesame\n')
    expect(await openTokens(store)).toBe('open-sesame')
    expect((await script('create', 'ada')).error.why).toBe('it holds something else')
    expect((await script('list')).error.what).toContain('has no list of tokens')
    expect(await readFile(store, 'utf8')).toBe('open-sesame\n')
  })

  test('leaves the tokens as they were in force, until it is one again', async () => {
    const token = (await type('create', 'ada')).stdout.trim()
    const rule = await opened()
    const good = await readFile(store, 'utf8')
    for (const spoil of [() => writeFile(store, '{"format":'), () => rm(store), () => mkdir(store)]) {
      await spoil()
      expect(() => checkToken(rule, { client: 'ada', token })).not.toThrow()
    }
    await rm(store, { recursive: true })
    await writeFile(store, good.replace('"revoked": null', '"revoked": "2026-01-01T00:00:00Z"'))
    expect(() => checkToken(rule, { client: 'ada', token })).toThrow('was revoked on 2026-01-01')
  })
})
