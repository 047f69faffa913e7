import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { writeGoldenModel } from '../experiments/testing/golden-model.js'
import { SmallDisk, whyNoDisk } from '../experiments/testing/small-disk.js'
import { modelDigest } from '../shared/model/digest.js'
import { modelCardOf, weightsOfSides } from '../shared/model/loaded.js'
import { openModel, type ModelFolder } from '../shared/model/model.node.js'
import type { PreparedWeights } from '../shared/model/prepared-files.node.js'
import { serveModel } from '../shared/model/served.node.js'
import type { FileRequest, ModelCard, ModelFiles } from '../shared/protocol/messages.js'
import { fetchModel } from './fetched-model.node.js'
import type { FileSource } from './file-requests.js'

const LIMITS = { max_chunk_bytes: 2 ** 20, max_message_bytes: 2 ** 28, heartbeat_s: 5 }
/** Pieces of 3,584 bytes: the golden model's files have several. */
const SMALL_LIMITS = { ...LIMITS, max_message_bytes: 4096 }
const CUT = 2

let root: string
let model: ModelFolder
let weights: PreparedWeights
let card: ModelCard
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'cutlayer-fetched-'))
  process.env.CUTLAYER_CACHE = join(root, 'server')
  await writeGoldenModel(join(root, 'model'), 'gpt2', { eos: true })
  model = await openModel(join(root, 'model'))
  const sides = weightsOfSides(model.definition, CUT)
  weights = await model.weights([...sides.bottom, ...sides.top])
  card = modelCardOf(model)
})
afterAll(() => rmSync(root, { recursive: true }))

let cache: string
beforeEach(() => {
  cache = mkdtempSync(join(root, 'client-'))
})

type Piece = Omit<FileRequest, 'type'>

/** A server that hands out the model, with what it says and sends as it should be unless told otherwise. */
class Server implements FileSource {
  readonly asked: Piece[] = []
  private readonly served = serveModel(model, async () => weights)

  constructor(
    private readonly lies: {
      readonly list?: (list: ModelFiles) => void
      readonly piece?: (request: Piece, bytes: Uint8Array, count: number) => Uint8Array
    } = {},
  ) {}

  async list(): Promise<ModelFiles> {
    const list: ModelFiles = structuredClone({ type: 'model-files' as const, ...(await this.served.list()) })
    this.lies.list?.(list)
    return list
  }

  async piece(request: Piece): Promise<Uint8Array> {
    this.asked.push(request)
    const bytes = await this.served.read(request.file, request.offset, request.bytes)
    return this.lies.piece?.(request, bytes, this.asked.length) ?? bytes
  }

  get files(): string[] {
    return [...new Set(this.asked.map(({ file }) => file))]
  }
}

async function fetchBottom(
  server: FileSource,
  given: Partial<Parameters<typeof fetchModel>[0]> = {},
  into = cache,
): Promise<PreparedWeights> {
  const fetched = await fetchModel({ model: card, limits: SMALL_LIMITS, ...given }, server, { cache: into })
  return fetched.weights(weightsOfSides(fetched.definition, CUT).bottom)
}

const filesIn = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
const left = (): string[] => filesIn(cache).filter((name) => /\.(incomplete|tmp)$/.test(name))
const weightsFolder = (): string => join(cache, 'weights', `${card.digest}-fp32`)
const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, index) => (index === 7 ? byte ^ 1 : byte))

describe('a model that is fetched', () => {
  test('has the bytes of the server’s prepared files, of its own blocks alone, and no temporaries stay', async () => {
    const server = new Server()
    const fetched = await fetchBottom(server)
    expect(server.files).toEqual(['config.json', 'block-0.bin', 'block-1.bin', 'embedding.bin'])
    expect(left()).toEqual([])
    for (const [file, facts] of fetched.files) {
      expect(facts).toEqual(weights.files.get(file))
      expect(readFileSync(join(fetched.folder, file))).toEqual(readFileSync(join(weights.folder, file)))
    }
    for (const [name, { shape }] of fetched.specs) {
      expect(weights.specs.get(name)!.shape).toEqual(shape)
      expect(await fetched.read(name)).toEqual(await weights.read(name))
    }
  })

  test('is the model of the folder in all that a client asks of it', async () => {
    const fetched = await fetchModel({ model: card, limits: LIMITS }, new Server(), { cache })
    for (const key of ['definition', 'architecture', 'name', 'digest', 'parameters'] as const) expect(fetched[key]).toEqual(model[key])
    expect(new Map(fetched.sources.map((source) => [source.name, source]))).toEqual(
      new Map(model.sources.map((source) => [source.name, source])),
    )
    const [own, theirs] = [await fetched.tokenizer(), await model.tokenizer()]
    expect(own.encode('a row', { specialTokens: true })).toEqual(theirs.encode('a row', { specialTokens: true }))
    expect([own.eosId, own.vocabSize]).toEqual([theirs.eosId, theirs.vocabSize])
  })

  test('is found in the cache the next time, whoever prepared it', async () => {
    await (await fetchModel({ model: card, limits: LIMITS }, new Server(), { cache })).tokenizer()
    await fetchBottom(new Server())
    const again = new Server()
    await (await fetchModel({ model: card, limits: LIMITS }, again, { cache })).tokenizer()
    await fetchBottom(again)
    expect(again.asked).toEqual([])
    const beside = new Server()
    await fetchBottom(beside, {}, join(root, 'server'))
    expect(beside.files).toEqual(['config.json'])
  })

  test('is fetched in float32 where 8-bit blocks are wanted, and the blocks are those of a folder', async () => {
    const server = new Server()
    const fetched = await fetchModel({ model: card, limits: LIMITS }, server, { cache })
    const names = weightsOfSides(fetched.definition, CUT).bottom
    const [own, theirs] = [await fetched.weights(names, { precision: 'q8' }), await model.weights(names, { precision: 'q8' })]
    expect(server.files).toEqual(['config.json', 'block-0.bin', 'block-1.bin', 'embedding.bin'])
    expect(own.folder).toBe(join(cache, 'weights', `${card.digest}-q8`))
    for (const [file, facts] of own.files) expect(facts).toEqual(theirs.files.get(file))
    expect(own.quantized('transformer.wte.weight')).not.toBeNull()
    expect(left()).toEqual([])
  })

  test('that another server has with another config.json is another model with the same weights', async () => {
    await fetchBottom(new Server())
    const config = JSON.stringify({ ...(JSON.parse(readFileSync(join(root, 'model', 'config.json'), 'utf8')) as object), n_head: 2 })
    const bytes = new TextEncoder().encode(config)
    const sha256 = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
    const other: FileSource = {
      async list() {
        const list = await new Server().list()
        return { ...list, files: { ...list.files, 'config.json': { bytes: bytes.length, sha256 } } }
      },
      piece: async ({ offset, bytes: length }) => bytes.slice(offset, offset + length),
    }
    const configOf = async (source: FileSource): Promise<unknown> =>
      (await fetchModel({ model: card, limits: LIMITS }, source, { cache })).definition.config
    expect(await configOf(other)).not.toEqual(model.definition.config)
    expect(await configOf(new Server())).toEqual(model.definition.config)
  })
})

describe('a server that lies is found out:', () => {
  const someBlock = (list: ModelFiles) => Object.keys(list.tensors).find((name) => name.includes('h.0.'))!

  test.each<[string, (list: ModelFiles) => void, string, string]>([
    [
      'a tensor of other bytes',
      (list) => void (list.tensors[someBlock(list)].sha256 = 'a'.repeat(64)),
      'MODEL_DIGEST_DIFFERS',
      'another digest',
    ],
    ['a tensor of another shape', (list) => void list.tensors[someBlock(list)].shape.push(1), 'MODEL_DIGEST_DIFFERS', 'another digest'],
    ['a tensor too few', (list) => void delete list.tensors[someBlock(list)], 'MODEL_DIGEST_DIFFERS', 'is missing'],
    ['a tensor that nobody knows', (list) => void (list.tensors.more = list.tensors[someBlock(list)]), 'MODEL_DIGEST_DIFFERS', 'more'],
    ['a file that is longer', (list) => void list.files['block-0.bin'].bytes++, 'MODEL_DIGEST_DIFFERS', 'the model’s tensors make'],
    ['a file that is not there', (list) => void delete list.files['block-1.bin'], 'MODEL_DIGEST_DIFFERS', 'does not have it'],
    ['no config.json', (list) => void delete list.files['config.json'], 'MODEL_NOT_FOUND', 'config.json'],
    ['an endless tokenizer', (list) => void (list.files['config.json'].bytes = 2 ** 40), 'MODEL_CORRUPT', 'config.json'],
  ])('%s', async (_, list, code, words) => {
    const error = (await fetchBottom(new Server({ list })).catch((thrown: unknown) => thrown)) as Error
    expect(error).toMatchObject({ code })
    expect(error.message).toContain(words.replace('’', "'"))
    expect(left()).toEqual([])
  })

  test('a card whose digests do not make that of the model', async () => {
    const lie = { ...card, digest: 'b'.repeat(64) }
    await expect(fetchBottom(new Server(), { model: lie })).rejects.toMatchObject({ code: 'MODEL_DIGEST_DIFFERS' })
  })

  test('more blocks than it has tensors', async () => {
    await expect(fetchBottom(new Server(), { model: { ...card, layers: 5 } })).rejects.toMatchObject({ code: 'MODEL_DIGEST_DIFFERS' })
  })

  test('wrong bytes: fetched once more, then refused, and nothing of them stays', async () => {
    const server = new Server({ piece: ({ file, offset }, bytes) => (file === 'block-1.bin' && offset > 0 ? flipped(bytes) : bytes) })
    await expect(fetchBottom(server)).rejects.toMatchObject({
      code: 'TRANSFER_CORRUPT',
      what: expect.stringContaining('block-1.bin') as string,
    })
    expect(server.asked.filter(({ file, offset }) => file === 'block-1.bin' && offset === 0)).toHaveLength(2)
    expect(left()).toEqual([])
    expect(readdirSync(weightsFolder()).sort()).toEqual(['block-0.bin', 'block-0.bin.json'])
  })

  test('wrong bytes that it says are right', async () => {
    const bytes = new Uint8Array(readFileSync(join(weights.folder, 'block-0.bin')))
    bytes[7] ^= 1
    const sha256 = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
    const server = new Server({
      list: (list) => void (list.files['block-0.bin'].sha256 = sha256),
      piece: ({ file, offset, bytes: length }, right) => (file === 'block-0.bin' ? bytes.slice(offset, offset + length) : right),
    })
    await expect(fetchBottom(server)).rejects.toMatchObject({ code: 'MODEL_DIGEST_DIFFERS' })
    expect(readdirSync(weightsFolder())).toEqual([])
  })
})

test('bytes that came wrong once are fetched again, and all is well', async () => {
  let hasLied = false
  const server = new Server({
    piece({ file }, bytes) {
      if (file !== 'block-0.bin' || hasLied) return bytes
      hasLied = true
      return flipped(bytes)
    },
  })
  const fetched = await fetchBottom(server)
  expect(readFileSync(join(fetched.folder, 'block-0.bin'))).toEqual(readFileSync(join(weights.folder, 'block-0.bin')))
  expect(left()).toEqual([])
})

test('a fetch that broke off goes on where it stopped', async () => {
  const broken = new Server({
    piece({ file, offset }, bytes) {
      if (file === 'block-1.bin' && offset >= 3 * 3584) throw new Error('the line broke')
      return bytes
    },
  })
  await expect(fetchBottom(broken)).rejects.toThrow('the line broke')
  expect(left()).toHaveLength(1)
  const server = new Server()
  const fetched = await fetchBottom(server)
  expect(server.asked.filter(({ file }) => file === 'block-0.bin')).toEqual([])
  expect(server.asked[0]).toMatchObject({ file: 'block-1.bin', offset: 3 * 3584 })
  expect(readFileSync(join(fetched.folder, 'block-1.bin'))).toEqual(readFileSync(join(weights.folder, 'block-1.bin')))
  expect(left()).toEqual([])
})

test.each([1, 0, -100])('what was left with %i bytes more than the file has is no harm, though its bytes are wrong', async (more) => {
  const broken = new Server({
    piece({ file }, right) {
      if (file === 'block-0.bin') throw new Error('the line broke')
      return right
    },
  })
  await expect(fetchBottom(broken)).rejects.toThrow('the line broke')
  const [name] = readdirSync(weightsFolder())
  const { bytes } = weights.files.get('block-0.bin')!
  writeFileSync(join(weightsFolder(), name), new Uint8Array(bytes + more).fill(9))
  const fetched = await fetchBottom(new Server())
  expect(readFileSync(join(fetched.folder, 'block-0.bin'))).toEqual(readFileSync(join(weights.folder, 'block-0.bin')))
  expect(left()).toEqual([])
})

test('two that fetch into one cache at once are both served, and do each other no harm', async () => {
  const [first, second] = await Promise.all([fetchBottom(new Server()), fetchBottom(new Server())])
  for (const { folder, files } of [first, second])
    for (const file of files.keys()) expect(readFileSync(join(folder, file))).toEqual(readFileSync(join(weights.folder, file)))
  expect(left()).toEqual([])
})

test('weights that cannot be found again from float32 are not fetched', async () => {
  const { tensors } = await new Server().list()
  const wide = Object.entries(tensors).map(([name, { shape, sha256 }]) => ({ name, dtype: 'F64', shape, bytesSha256: sha256 }))
  const digest = await modelDigest(wide)
  const server = new Server({ list: (given) => Object.values(given.tensors).forEach((tensor) => (tensor.dtype = 'F64')) })
  const wideCard = { ...card, digest: digest.model, tensors: Object.fromEntries(digest.tensors) }
  await expect(fetchBottom(server, { model: wideCard })).rejects.toMatchObject({
    code: 'MODEL_UNSUPPORTED',
    why: expect.stringContaining('F64') as string,
  })
})

describe('a cache that cannot be written', () => {
  test('because a file is in its place is named', async () => {
    writeFileSync(join(cache, 'weights'), '')
    await expect(fetchBottom(new Server())).rejects.toMatchObject({ code: 'CACHE_UNWRITABLE' })
  })

  const noDisk = whyNoDisk()
  let disk: SmallDisk | null = null
  afterEach(() => {
    disk?.remove()
    disk = null
  })
  test.skipIf(noDisk !== null)('because the disk is full is named, and what came is gone on with when there is room', async () => {
    disk = new SmallDisk({ bytes: 2 ** 20 })
    disk.fill(10 * 4096)
    await expect(fetchBottom(new Server(), {}, disk.folder)).rejects.toMatchObject({
      code: 'CACHE_UNWRITABLE',
      why: 'the disk is full',
    })
    disk.fill(2 ** 19)
    const server = new Server()
    const fetched = await fetchBottom(server, {}, disk.folder)
    expect(server.asked[0].offset).toBeGreaterThan(0)
    for (const file of fetched.files.keys())
      expect(readFileSync(join(fetched.folder, file))).toEqual(readFileSync(join(weights.folder, file)))
  })
})
