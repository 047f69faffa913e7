/** @file Tests of downloads from the hub into the Hugging Face cache, against a hub on this machine. */
import { mkdir, mkdtemp, readFile, readlink, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HUB_TOKEN, etagOf, modelOf, revisionOf, startHub, type HubServer } from '../testing/hub-server.node.js'
import { openSnapshot, type HubAccess, type HubEvent } from './snapshot.node.js'

const ID = 'acme/tiny'
const WEIGHTS = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) % 251))
const FILES = { 'config.json': '{"model_type":"gpt2"}', 'model.safetensors': WEIGHTS }
const ETAG = etagOf('model.safetensors', WEIGHTS)

let home: string
let hub: HubServer
let events: HubEvent[]

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'cutlayer-hub-'))
  hub = await startHub({ [ID]: modelOf(FILES) })
  events = []
})
afterEach(async () => {
  await hub.close()
  await rm(home, { recursive: true, force: true })
})

const access = (environment: NodeJS.ProcessEnv = {}): HubAccess => ({
  environment: { HF_HOME: home, HF_ENDPOINT: `${hub.endpoint}/`, ...environment },
  onEvent: (event) => events.push(event),
  backOffMs: 1,
})
const commit = (): string => hub.models.get(ID)!.revisions.main.commit
const inCache = (...parts: string[]): string => join(home, 'hub', 'models--acme--tiny', ...parts)
const fileRequests = () => hub.requests.filter(({ path }) => !path.startsWith('/api/'))

describe('a file of a model on the hub', () => {
  test('lies in the cache as huggingface_hub lays it out', async () => {
    const snapshot = await openSnapshot(ID, 'main', access())
    const path = await snapshot.need('model.safetensors')
    expect(path).toBe(inCache('snapshots', commit(), 'model.safetensors'))
    expect(await readFile(path)).toEqual(WEIGHTS)
    expect(await readlink(path)).toBe(join('..', '..', 'blobs', ETAG))
    expect(await readFile(inCache('refs', 'main'), 'utf8')).toBe(commit())
    expect(await readdir(inCache('blobs'))).toEqual([ETAG])
  })

  test('is not fetched again, and of a commit nothing is asked at all', async () => {
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    const before = fileRequests().length
    const again = await openSnapshot(ID, 'main', access())
    await again.need('model.safetensors')
    expect(fileRequests()).toHaveLength(before)
    hub.requests.length = 0
    await (await openSnapshot(ID, commit(), access())).need('model.safetensors')
    expect(hub.requests).toHaveLength(0)
  })

  test('that is the same in a new commit is linked, and one that changed is fetched', async () => {
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    hub.models.get(ID)!.revisions.main = revisionOf({ ...FILES, 'config.json': '{"model_type":"gpt2","n_layer":2}' })
    const before = fileRequests().length
    const snapshot = await openSnapshot(ID, 'main', access())
    await snapshot.need('model.safetensors')
    expect(fileRequests()).toHaveLength(before)
    expect(await readFile(await snapshot.need('config.json'), 'utf8')).toContain('n_layer')
    expect(await readFile(inCache('refs', 'main'), 'utf8')).toBe(commit())
  })

  test('that a commit does not have is remembered as huggingface_hub does', async () => {
    const snapshot = await openSnapshot(ID, 'main', access())
    expect(await snapshot.find('generation_config.json')).toBeNull()
    expect((await stat(inCache('.no_exist', commit(), 'generation_config.json'))).size).toBe(0)
    await expect(snapshot.need('generation_config.json')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      what: 'acme/tiny has no generation_config.json',
    })
  })

  test('comes from the branch, tag or pull request that was asked for', async () => {
    hub.models.get(ID)!.revisions['refs/pr/1'] = revisionOf({ 'config.json': '{"from":"pr"}' })
    const snapshot = await openSnapshot(ID, 'refs/pr/1', access())
    expect(await readFile(await snapshot.need('config.json'), 'utf8')).toBe('{"from":"pr"}')
    expect(await readFile(inCache('refs', 'refs', 'pr', '1'), 'utf8')).toBe(snapshot.commit)
  })

  test('is linked anew where its blob was removed', async () => {
    const snapshot = await openSnapshot(ID, 'main', access())
    const path = await snapshot.need('config.json')
    await rm(join(dirname(path), await readlink(path)))
    expect(await readFile(await snapshot.need('config.json'), 'utf8')).toBe(FILES['config.json'])
  })

  test('is fetched once by many at the same time', async () => {
    const paths = await Promise.all(
      Array.from({ length: 4 }, async () => (await openSnapshot(ID, 'main', access())).need('model.safetensors')),
    )
    expect(new Set(paths).size).toBe(1)
    expect(hub.requests.filter(({ host }) => host === 'cdn')).toHaveLength(1)
    expect(await readdir(join(home, 'hub', '.locks', 'models--acme--tiny'))).toEqual([])
  })

  test('is fetched although a process that died holds its lock', async () => {
    const locks = join(home, 'hub', '.locks', 'models--acme--tiny')
    await mkdir(locks, { recursive: true })
    await writeFile(join(locks, `${ETAG}.cutlayer`), `${hostname()} 999999999`)
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    expect(await readFile(inCache('blobs', ETAG))).toEqual(WEIGHTS)
  })
})

describe('a transfer', () => {
  test('that breaks goes on where it stopped', async () => {
    let breaks = 0
    hub.fault = ({ host }) => (host === 'cdn' && breaks++ < 2 ? { breakAfter: 30_000 } : null)
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    const ranges = hub.requests.filter(({ host }) => host === 'cdn').map(({ range }) => range)
    expect(ranges).toEqual([null, 'bytes=30000-99999', 'bytes=60000-99999'])
    expect(await readFile(inCache('blobs', ETAG))).toEqual(WEIGHTS)
  })

  test('that stands still is given up and goes on', async () => {
    let stalls = 0
    hub.fault = ({ host }) => (host === 'cdn' && stalls++ === 0 ? { stallAfter: 40_000 } : null)
    await (await openSnapshot(ID, 'main', access({ HF_HUB_DOWNLOAD_TIMEOUT: '0.2' }))).need('model.safetensors')
    expect(hub.requests.at(-1)).toMatchObject({ range: 'bytes=40000-99999' })
  })

  test('that an earlier process did not finish goes on', async () => {
    await mkdir(inCache('blobs'), { recursive: true })
    await writeFile(inCache('blobs', `${ETAG}.cutlayer.incomplete`), WEIGHTS.subarray(0, 70_000))
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    expect(hub.requests.at(-1)).toMatchObject({ host: 'cdn', range: 'bytes=70000-99999', bytes: 30_000 })
    expect(events.filter(({ type }) => type === 'begin')).toEqual([
      { type: 'begin', model: ID, file: 'model.safetensors', done: 70_000, bytes: 100_000 },
    ])
    expect(await readdir(inCache('blobs'))).toEqual([ETAG])
  })

  test('of which the beginning was wrong is made once more from the start', async () => {
    await mkdir(inCache('blobs'), { recursive: true })
    await writeFile(inCache('blobs', `${ETAG}.cutlayer.incomplete`), Buffer.alloc(70_000))
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    expect(await readFile(inCache('blobs', ETAG))).toEqual(WEIGHTS)
  })

  test('from a host that knows no ranges skips what is there', async () => {
    let requests = 0
    hub.fault = ({ host }) => (host !== 'cdn' ? null : requests++ === 0 ? { breakAfter: 30_000 } : { ignoreRange: true })
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    expect(await readFile(inCache('blobs', ETAG))).toEqual(WEIGHTS)
  })

  test('that arrives changed is refused, and leaves nothing in the cache', async () => {
    hub.fault = ({ host }) => (host === 'cdn' ? { garble: true } : null)
    const snapshot = await openSnapshot(ID, 'main', access())
    await expect(snapshot.need('model.safetensors')).rejects.toMatchObject({ code: 'TRANSFER_CORRUPT' })
    expect(await readdir(inCache('blobs'))).toEqual([])
  })

  test('of a small file is checked by its git hash', async () => {
    hub.fault = ({ path }) => (path.endsWith('/config.json') ? { garble: true } : null)
    const snapshot = await openSnapshot(ID, 'main', access())
    await expect(snapshot.need('config.json')).rejects.toMatchObject({ code: 'TRANSFER_CORRUPT' })
  })

  test.each([429, 500, 503])('is tried again after status %i, when the hub says', async (status) => {
    let refusals = 0
    hub.fault = () => (refusals++ < 2 ? { status, headers: { 'retry-after': '0' } } : null)
    await (await openSnapshot(ID, 'main', access())).need('config.json')
    expect(refusals).toBeGreaterThan(2)
  })

  test('that keeps breaking with nothing gained ends', async () => {
    hub.fault = ({ host }) => (host === 'cdn' ? { breakAfter: 0 } : null)
    const snapshot = await openSnapshot(ID, 'main', access())
    await expect(snapshot.need('model.safetensors')).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' })
    expect(hub.requests.filter(({ host }) => host === 'cdn')).toHaveLength(5)
  })

  test('ends when it is aborted, and what has come stays', async () => {
    const stop = new AbortController()
    hub.fault = ({ host }) => (host === 'cdn' ? { stallAfter: 20_000 } : null)
    const snapshot = await openSnapshot(ID, 'main', {
      ...access(),
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type === 'progress' && event.done === 20_000) stop.abort(new Error('that will do'))
      },
    })
    await expect(snapshot.need('model.safetensors')).rejects.toThrow('that will do')
    expect((await stat(inCache('blobs', `${ETAG}.cutlayer.incomplete`))).size).toBe(20_000)
  })

  test('tells how far it is', async () => {
    await (await openSnapshot(ID, 'main', access())).need('model.safetensors')
    expect(events[0]).toEqual({ type: 'begin', model: ID, file: 'model.safetensors', done: 0, bytes: 100_000 })
    expect(events.at(-1)).toEqual({ type: 'end', model: ID, file: 'model.safetensors', done: 100_000, bytes: 100_000 })
  })

  test('of a file that the disk has no room for is refused before it begins', async () => {
    const snapshot = await openSnapshot(ID, 'main', access())
    await expect(
      snapshot.fetchParts(
        { name: 'model.safetensors', bytes: 2 ** 52, etag: ETAG },
        join(home, 'file'),
        { prefix: new Uint8Array(0), segments: [{ from: 0, bytes: 2 ** 52 }] },
        null,
      ),
    ).rejects.toMatchObject({ code: 'CACHE_UNWRITABLE' })
    expect(fileRequests()).toHaveLength(0)
  })
})

describe('a token', () => {
  test('goes to the endpoint, and to no host that it redirects to', async () => {
    await (await openSnapshot(ID, 'main', access({ HF_TOKEN: HUB_TOKEN }))).need('model.safetensors')
    const [atHub, atCdn] = (['hub', 'cdn'] as const).map((host) => hub.requests.filter((request) => request.host === host))
    expect(new Set(atHub.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${HUB_TOKEN}`]))
    expect(atCdn.map(({ authorization }) => authorization)).toEqual([null])
  })

  test('is read from the file that hf auth login writes', async () => {
    await writeFile(join(home, 'token'), `${HUB_TOKEN}\n`)
    await openSnapshot(ID, 'main', access())
    expect(hub.requests[0].authorization).toBe(`Bearer ${HUB_TOKEN}`)
  })

  test('that the hub refuses stands in no message', async () => {
    const failure = await openSnapshot(ID, 'main', access({ HF_TOKEN: 'hf_secret' })).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'MODEL_ACCESS_DENIED', what: 'the hub refuses the token that was sent for acme/tiny' })
    expect(JSON.stringify([failure, (failure as Error).message, (failure as Error).stack])).not.toContain('hf_secret')
  })

  test('opens a gated and a private model', async () => {
    hub.models.get(ID)!.access = 'gated'
    const snapshot = await openSnapshot(ID, 'main', access())
    const gated = await snapshot.need('config.json').catch((error: unknown) => error)
    expect(gated).toMatchObject({ code: 'MODEL_ACCESS_DENIED' })
    expect((gated as { fix: string }).fix).toBe(
      `open ${hub.endpoint}/acme/tiny, ask for access there, and set HF_TOKEN to a token of an account that may read it`,
    )
    await (await openSnapshot(ID, 'main', access({ HF_TOKEN: HUB_TOKEN }))).need('config.json')
    hub.models.get(ID)!.access = 'private'
    await (await openSnapshot(ID, 'main', access({ HF_TOKEN: HUB_TOKEN }))).need('config.json')
  })
})

describe('a model that cannot be had', () => {
  test.each([
    ['that the hub does not know', 'acme/nothing', 'main', 'MODEL_NOT_FOUND', 'there is no model acme/nothing'],
    ['of an unknown revision', ID, 'v9', 'MODEL_NOT_FOUND', 'acme/tiny has no revision v9'],
    ['of an ill-formed revision', ID, '../x', 'CONFIG_VALUE', 'the revision cannot be used'],
  ])('%s is refused', async (_, id, revision, code, what) => {
    await expect(openSnapshot(id, revision, access())).rejects.toMatchObject({ code, what })
    await expect(openSnapshot(id, revision, access({ HF_TOKEN: HUB_TOKEN }))).rejects.toMatchObject({ code })
  })

  test('because no hub is there is refused; with a copy in the cache it is taken, and that is told', async () => {
    const nowhere = access({ HF_ENDPOINT: 'http://127.0.0.1:9' })
    await expect(openSnapshot(ID, 'main', nowhere)).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' })
    await (await openSnapshot(ID, 'main', access())).need('config.json')
    const cached = await openSnapshot(ID, 'main', nowhere)
    await cached.need('config.json')
    await expect(cached.need('model.safetensors')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    expect(events.filter(({ type }) => type === 'notice')).toHaveLength(1)
  })

  test('because HF_HUB_OFFLINE is set is refused, without a request; from the cache it comes', async () => {
    const offline = access({ HF_HUB_OFFLINE: 'yes' })
    await expect(openSnapshot(ID, 'main', offline)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    expect(hub.requests).toHaveLength(0)
    await (await openSnapshot(ID, 'main', access())).need('config.json')
    hub.requests.length = 0
    const cached = await openSnapshot(ID, 'main', offline)
    expect(await readFile(await cached.need('config.json'), 'utf8')).toBe(FILES['config.json'])
    expect(await cached.find('model.safetensors')).toBeNull()
    await expect(cached.need('model.safetensors')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    expect(hub.requests).toHaveLength(0)
  })

  test('from something that is no hub is refused', async () => {
    hub.fault = ({ path }) => (path.startsWith('/api/') ? { status: 200 } : null)
    await expect(openSnapshot(ID, 'main', access())).rejects.toMatchObject({ code: 'HUB_FAILED' })
  })

  test('because redirects never end is refused', async () => {
    hub.fault = ({ path }) => ({ status: 307, headers: { location: path } })
    await expect(openSnapshot(ID, 'main', access())).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' })
  })

  test('because the cache cannot be written is refused', async () => {
    await writeFile(join(home, 'hub'), 'a file')
    await expect(openSnapshot(ID, 'main', access())).rejects.toMatchObject({ code: 'CACHE_UNWRITABLE' })
  })

  test('because it was renamed is found under its new name', async () => {
    hub.fault = ({ path }) => (path.includes('acme/old') ? { status: 307, headers: { location: path.replace('acme/old', ID) } } : null)
    await (await openSnapshot('acme/old', 'main', access())).need('model.safetensors')
    expect(await readFile(join(home, 'hub', 'models--acme--old', 'blobs', ETAG))).toEqual(WEIGHTS)
  })
})

test('a snapshot that another program copied in place of links is read as it is', async () => {
  const folder = inCache('snapshots', commit())
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), 'copied')
  await symlink('nowhere', join(folder, 'broken'))
  const snapshot = await openSnapshot(ID, commit(), access({ HF_HUB_OFFLINE: '1' }))
  expect(await readFile(await snapshot.need('config.json'), 'utf8')).toBe('copied')
  expect(await snapshot.isHere('broken')).toBe(false)
})
