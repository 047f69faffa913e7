/**
 * @file The model of a run, from the cache and the server: for a client that was given none.
 *
 * What the server says it has is checked against the digests of the welcome, and these against the model's digest, before anything is
 * fetched; what was fetched is checked before it gets its name in the cache. So the cache holds under a digest what belongs there, whoever
 * the server was.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { UserError } from '../shared/errors.js'
import { asCacheError, cacheFolder, makeCacheFolder } from '../shared/model/cache.node.js'
import { compareCodeUnits } from '../shared/compare.js'
import { digestOfTensors, tensorDigest, type DigestedTensor, type ModelDigest } from '../shared/model/digest.js'
import { fileOf, type Family } from '../shared/model/families/family.js'
import { familyOf } from '../shared/model/families/index.js'
import { requiredJson } from '../shared/model/json-file.node.js'
import { MAX_PIECE_BYTES, MAX_TEXT_FILE_BYTES, TEXT_FILES } from '../shared/model/model-files.js'
import type { ModelFolder } from '../shared/model/model.node.js'
import { checkableType, checkPrepared } from '../shared/model/prepared-check.node.js'
import {
  findPrepared,
  layoutOf,
  notePrepared,
  preparedFolder,
  preparedStore,
  sha256Of,
  type Layout,
  type PreparedFile,
  type PreparedWeights,
} from '../shared/model/prepared-files.node.js'
import { loadTokenizer } from '../shared/model/tokenizer.node.js'
import type { MessageOf, ModelCard, ModelFiles } from '../shared/protocol/messages.js'
import { download } from './download.node.js'
import type { FileSource } from './file-requests.js'

/** A message around a piece has some bytes of its own. */
const ENVELOPE_BYTES = 512
const MAX_CONFIG_BYTES = 16 * 2 ** 20

/** How far the fetching of some files is. */
export interface FetchProgress {
  /** The file that is being fetched. */
  readonly file: string
  /** Of all the files that are fetched now; what an earlier process had fetched of them counts. */
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface FetchOptions {
  readonly onProgress?: (progress: FetchProgress) => void
  readonly cache?: string
}

/**
 * The model that the welcome tells of. Its weights and its tokenizer are fetched when they are asked for, as far as the cache lacks them.
 *
 * @throws UserError MODEL_DIGEST_DIFFERS if the server's list does not belong to the model's digest, MODEL_UNSUPPORTED and MODEL_CORRUPT as
 *   for a folder, CACHE_UNWRITABLE, TRANSFER_CORRUPT, and what the source throws.
 */
export async function fetchModel(
  { model: card, limits }: Pick<MessageOf<'welcome'>, 'model' | 'limits'>,
  source: FileSource,
  { onProgress = () => {}, cache = cacheFolder() }: FetchOptions = {},
): Promise<ModelFolder> {
  const digest = await digestOf(card)
  const listed = await source.list()
  const sources = await sourcesOf(listed, card)
  const pieceBytes = Math.min(MAX_PIECE_BYTES, limits.max_message_bytes - ENVELOPE_BYTES)
  const fetcher: Fetcher = { source, pieceBytes, onProgress }
  const texts = await textFolder(listed, cache)
  await fetchTexts(texts, ['config.json'], fetcher)
  const raw = await requiredJson(join(texts.folder, 'config.json'), MAX_CONFIG_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT')
  const family = familyOf(raw)
  const config = family.parse(raw)
  const shapes = shapesOf(family, config, card, sources)
  return {
    definition: { family, config },
    architecture: family.architecture(config),
    name: card.name,
    revision: null,
    digest,
    sources: [...sources.values()],
    parameters: [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
    folder: texts.folder,
    weights: (names) => fetchWeights({ names, fileOf: (name) => fileOf(family, name), shapes, sources, digest, listed, cache }, fetcher),
    async tokenizer() {
      await fetchTexts(texts, TEXT_FILES, fetcher)
      return loadTokenizer(texts.folder)
    },
  }
}

// ---- what the server says, checked

/** @throws UserError MODEL_DIGEST_DIFFERS if the tensors' digests do not make the model's. */
async function digestOf(card: ModelCard): Promise<ModelDigest> {
  const digest = await digestOfTensors(Object.entries(card.tensors))
  if (digest.model !== card.digest) throw notThatModel(card, "its tensors' digests do not make that digest")
  return digest
}

async function sourcesOf({ tensors }: ModelFiles, card: ModelCard): Promise<Map<string, DigestedTensor>> {
  const sources = new Map<string, DigestedTensor>()
  for (const [name, { dtype, shape, sha256: bytesSha256 }] of Object.entries(tensors)) {
    const tensor = { name, dtype, shape, bytesSha256 }
    if ((await tensorDigest(tensor)) !== card.tensors[name]) throw notThatModel(card, `${name} in its list has another digest`)
    sources.set(name, tensor)
  }
  const missing = Object.keys(card.tensors).find((name) => !sources.has(name))
  if (missing !== undefined) throw notThatModel(card, `${missing} is missing in its list`)
  return sources
}

/** The tensors that config.json asks for: those of the digest, in their shapes. */
function shapesOf(
  family: Family,
  config: unknown,
  card: ModelCard,
  sources: ReadonlyMap<string, DigestedTensor>,
): ReadonlyMap<string, readonly number[]> {
  const { layers } = family.architecture(config)
  // Before all its tensors are listed: a config.json can ask for any number of blocks.
  if (layers !== card.layers || layers > sources.size) throw notThatModel(card, `its config.json has ${layers} blocks`)
  const shapes = family.tensors(config)
  for (const name of new Set([...shapes.keys(), ...sources.keys()])) {
    if (shapes.get(name)?.join() !== sources.get(name)?.shape.join())
      throw notThatModel(card, `${name} is not what its config.json asks for`)
  }
  return shapes
}

function notThatModel(card: ModelCard, why: string): UserError {
  return new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: `what the server offers is not the model ${card.name} with the digest ${card.digest.slice(0, 16)}`,
    why,
    fix: "join a server that you trust, or give this client a copy of the server's model with --model",
  })
}

// ---- fetching

interface Fetcher {
  readonly source: FileSource
  readonly pieceBytes: number
  readonly onProgress: (progress: FetchProgress) => void
}

interface Texts {
  readonly folder: string
  readonly files: ModelFiles['files']
}

/**
 * The folder of the files beside the weights. It goes by their own hashes: the digest is over the weights alone, and another server may have
 * the same ones with another config.json.
 */
async function textFolder({ files }: ModelFiles, cache: string): Promise<Texts> {
  const known = TEXT_FILES.filter((file) => Object.hasOwn(files, file)).sort(compareCodeUnits)
  const hash = createHash('sha256').update(JSON.stringify(known.map((file) => [file, files[file].sha256])))
  const folder = join(cache, 'models', hash.digest('hex'))
  await makeCacheFolder(folder)
  return { folder, files }
}

async function fetchTexts({ folder, files }: Texts, wanted: readonly string[], fetcher: Fetcher): Promise<void> {
  const lacking: string[] = []
  for (const file of wanted.filter((name) => Object.hasOwn(files, name))) {
    const isHere = (await sha256Of(join(folder, file)).catch(() => null)) === files[file].sha256
    if (!isHere) lacking.push(file)
    if (files[file].bytes > MAX_TEXT_FILE_BYTES) throw tooLarge(file, files[file].bytes)
  }
  await fetchAll(
    lacking.map((file) => ({ file, ...files[file], check: sha256Of })),
    folder,
    fetcher,
  )
}

interface WeightsWanted {
  readonly names: Iterable<string>
  readonly fileOf: (name: string) => string
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly sources: ReadonlyMap<string, DigestedTensor>
  readonly digest: ModelDigest
  readonly listed: ModelFiles
  readonly cache: string
}

/** The prepared files that hold these tensors, and no others. */
async function fetchWeights(wanted: WeightsWanted, fetcher: Fetcher): Promise<PreparedWeights> {
  const { names, shapes, sources, digest, listed } = wanted
  const folder = preparedFolder(digest.model, wanted.cache)
  await makeCacheFolder(folder)
  const layouts = new Map<string, Layout>()
  for (const file of new Set([...names].map(wanted.fileOf))) layouts.set(file, layoutOf(file, shapes, digest.model, wanted.fileOf))
  const prepared = new Map<string, PreparedFile>()
  const lacking: Wanted[] = []
  for (const [file, layout] of [...layouts].sort(([a], [b]) => compareCodeUnits(a, b))) {
    const found = await findPrepared(folder, file, layout)
    if (found) {
      prepared.set(file, found)
      continue
    }
    for (const { name } of layout.tensors) checkableType(sources.get(name)!)
    const offered = Object.hasOwn(listed.files, file) ? listed.files[file] : null
    if (offered?.bytes !== layout.bytes)
      throw otherFile(file, offered ? `it has ${offered.bytes} bytes at the server` : 'the server does not have it', layout.bytes)
    lacking.push({
      file,
      ...offered,
      async check(path) {
        const { sha256, wrong } = await checkPrepared(path, layout, sources)
        if (sha256 === offered.sha256 && wrong !== null) throw otherWeights(file, wrong)
        return sha256
      },
      async done() {
        prepared.set(file, await notePrepared(folder, file, layout, offered.sha256))
      },
    })
  }
  await fetchAll(lacking, folder, fetcher)
  return preparedStore(folder, digest.model, layouts, prepared)
}

interface Wanted {
  readonly file: string
  readonly bytes: number
  readonly sha256: string
  check(path: string): Promise<string>
  /** It is in its place. */
  done?(): Promise<void>
}

async function fetchAll(files: readonly Wanted[], folder: string, { source, pieceBytes, onProgress }: Fetcher): Promise<void> {
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let before = 0
  try {
    for (const { done, ...wanted } of files) {
      const onBytes = (bytes: number): void => onProgress({ file: wanted.file, doneBytes: before + bytes, totalBytes })
      await download({ ...wanted, folder, pieceBytes, onBytes }, source)
      await done?.()
      before += wanted.bytes
    }
  } catch (error) {
    throw asCacheError(folder, error)
  }
}

function tooLarge(file: string, bytes: number): UserError {
  return new UserError({
    code: 'MODEL_CORRUPT',
    what: `${file} of the server's model is not fetched`,
    why: `it has ${bytes} bytes, and ${MAX_TEXT_FILE_BYTES} are the most that are read`,
    fix: "give this client a copy of the server's model with --model",
  })
}

function otherFile(file: string, why: string, bytes: number): UserError {
  return new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: `${file} of the server's model is not fetched`,
    why: `${why}, and the model's tensors make a file of ${bytes} bytes`,
    fix: 'make sure that both ends run the same version of cutlayer, or give this client a copy of the model with --model',
  })
}

function otherWeights(file: string, wrong: string): UserError {
  return new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: `the server's ${file} does not hold the model that it names`,
    why: `${wrong} is not what the model's digest was made of`,
    fix: "join a server that you trust, or give this client a copy of the server's model with --model",
  })
}
