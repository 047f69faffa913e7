/** @file Tests of how a model is opened in part, by folder and by hub id. */
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { modelCardOf, weightsOfSides } from './loaded.js'
import { openModel, openOutline, type ModelShare } from './model.node.js'
import { parseSafetensors, serializeSafetensors } from './safetensors.js'
import { goldenFile } from './testing/golden.js'
import { modelOf, startHub, type HubServer } from './testing/hub-server.node.js'

const GOLDEN = goldenFile('gpt2', 'model')
const ID = 'acme/tiny'

let home: string
let hub: HubServer
let share: ModelShare
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'cutlayer-source-'))
  process.env.CUTLAYER_CACHE = join(home, 'cache')
  hub = await startHub({})
  const whole = await openModel(GOLDEN)
  share = { names: (definition) => weightsOfSides(definition, 1).bottom, card: modelCardOf(whole) }
})
afterEach(async () => {
  await hub.close()
  await rm(home, { recursive: true, force: true })
})

const access = () => ({ environment: { HF_HOME: home, HF_ENDPOINT: hub.endpoint }, backOffMs: 1 })
/** Not of the header: it begins within the first 8 bytes. */
const isOfBlocks = (range: string | null): boolean => !/^bytes=[08]-/.test(range!)
const cdnRequests = () => hub.requests.filter(({ host }) => host === 'cdn')

async function goldenFiles(): Promise<Record<string, Buffer>> {
  const names = await readdir(GOLDEN)
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(GOLDEN, name))] as const)))
}

/** The golden model in a shard for each block and one for the rest, as an index says. */
async function shardedFiles(): Promise<Record<string, Buffer>> {
  const { 'model.safetensors': weights, ...files } = await goldenFiles()
  const { tensors } = parseSafetensors(weights, { name: 'golden', code: 'MODEL_CORRUPT' })
  const shardOf = (name: string): string => `model-${/h\.(\d)/.exec(name)?.[1] ?? 'rest'}.safetensors`
  const weightMap = Object.fromEntries([...tensors.keys()].map((name) => [name, shardOf(name)]))
  const shards = [...new Set(Object.values(weightMap))].map((shard): [string, Buffer] => {
    const own = [...tensors].filter(([name]) => weightMap[name] === shard)
    return [
      shard,
      Buffer.from(serializeSafetensors(new Map(own.map(([name, { shape, bytes }]) => [name, { dtype: 'F32', shape, bytes }])))),
    ]
  })
  return { ...files, ...Object.fromEntries(shards), 'model.safetensors.index.json': Buffer.from(JSON.stringify({ weight_map: weightMap })) }
}

async function expectSameWeights(model: Awaited<ReturnType<typeof openModel>>): Promise<void> {
  const names = [...share.names(model.definition)]
  const [own, whole] = [await model.weights(names), await (await openModel(GOLDEN)).weights(names)]
  for (const name of names) expect(await own.read(name)).toEqual(await whole.read(name))
  expect(model.digest.model).toBe(share.card.digest)
}

describe('of a single file on the hub', () => {
  beforeEach(async () => void hub.models.set(ID, modelOf(await goldenFiles())))

  test('the needed blocks are fetched by range, and nothing else', async () => {
    await expectSameWeights(await openModel(ID, { share, hub: access() }))
    const size = (await stat(join(GOLDEN, 'model.safetensors'))).size
    expect(cdnRequests().every(({ range }) => range !== null)).toBe(true)
    expect(cdnRequests().reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(0.7 * size)
    hub.requests.length = 0
    const { commit } = hub.models.get(ID)!.revisions.main
    await expectSameWeights(await openModel(ID, { revision: commit, share, hub: access() }))
    expect(hub.requests).toEqual([])
  })

  test('a block that broke off goes on where it stopped', async () => {
    let breaks = 0
    hub.fault = ({ host, range }) => (host === 'cdn' && isOfBlocks(range) && breaks++ === 1 ? { breakAfter: 1000 } : null)
    await expectSameWeights(await openModel(ID, { share, hub: access() }))
    expect(breaks).toBeGreaterThan(2)
  })

  test('more blocks are fetched when they are needed, and those that are there are not fetched again', async () => {
    await openModel(ID, { share, hub: access() })
    const before = cdnRequests().length
    const two: ModelShare = { ...share, names: (definition) => weightsOfSides(definition, 2).bottom }
    await openModel(ID, { share: two, hub: access() })
    // The header's length and the header, and block 1.
    expect(cdnRequests().slice(before)).toHaveLength(3)
  })

  test('the whole file is fetched where most of it is needed', async () => {
    const all: ModelShare = { ...share, names: (definition) => weightsOfSides(definition, 4).bottom }
    await openModel(ID, { share: all, hub: access() })
    expect(cdnRequests().at(-1)).toMatchObject({ range: null })
    expect(await readdir(join(home, 'hub', 'models--acme--tiny', 'blobs'))).toHaveLength((await readdir(GOLDEN)).length)
  })

  test('bytes that are not the server’s make another model', async () => {
    hub.fault = ({ host, range }) => (host === 'cdn' && isOfBlocks(range) ? { garble: true } : null)
    const model = await openModel(ID, { share, hub: access() })
    expect(model.digest.model).not.toBe(share.card.digest)
  })

  test('that is no safetensors file nothing is fetched but its beginning', async () => {
    hub.models.set(ID, modelOf({ ...(await goldenFiles()), 'model.safetensors': Buffer.alloc(300_000, 255) }))
    await expect(openModel(ID, { share, hub: access() })).rejects.toMatchObject({ code: 'MODEL_CORRUPT' })
  })

  test('an outline needs no weights', async () => {
    const { architecture, revision, name } = await openOutline(ID, { hub: access() })
    expect([architecture.layers, revision, name]).toEqual([4, hub.models.get(ID)!.revisions.main.commit, ID])
    expect(cdnRequests()).toEqual([])
  })
})

test('of shards on the hub only those with needed tensors are fetched', async () => {
  hub.models.set(ID, modelOf(await shardedFiles()))
  await expectSameWeights(await openModel(ID, { share, hub: access() }))
  expect(cdnRequests()).toHaveLength(2) // block 0, and the one with the embedding
  hub.requests.length = 0
  expect((await openModel(ID, { hub: access() })).digest.model).toBe(share.card.digest)
  expect(cdnRequests()).toHaveLength(3)
})

test('of a folder only the blocks that are needed must be there', async () => {
  for (const [name, bytes] of Object.entries(await shardedFiles())) await writeFile(join(home, name), bytes)
  await truncate(join(home, 'model-3.safetensors'), 10)
  await rm(join(home, 'model-2.safetensors'))
  await expectSameWeights(await openModel(home, { share }))
  await expect(openModel(home)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
})

test('a folder has no revision but the commit that its path tells', async () => {
  await expect(openModel(GOLDEN, { revision: 'v2' })).rejects.toMatchObject({ code: 'CONFIG_VALUE' })
  const commit = 'a'.repeat(40)
  const folder = join(home, 'hub', 'models--bare', 'snapshots', commit)
  await mkdir(join(folder, '..'), { recursive: true })
  await cp(GOLDEN, folder, { recursive: true })
  const { name, revision } = await openModel(folder, { revision: commit })
  expect([name, revision]).toEqual(['bare', commit])
})
