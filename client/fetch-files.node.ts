/**
 * @file Fetches files of the model that the cache lacks: those beside the weights, and the prepared weights.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { compareCodeUnits } from '../shared/compare.js'
import { UserError } from '../shared/errors.js'
import { asCacheError, makeCacheFolder } from '../shared/model/cache.node.js'
import type { DigestedTensor } from '../shared/model/digest.js'
import { MAX_TEXT_FILE_BYTES, TEXT_FILES } from '../shared/model/model-files.js'
import { checkableType, checkPrepared } from '../shared/model/prepared-check.node.js'
import {
  findPrepared,
  layoutOf,
  notePrepared,
  preparedFolder,
  preparedStore,
  sha256Of,
  type Layout,
  type Preparation,
  type PreparedFile,
  type PreparedWeights,
} from '../shared/model/prepared-files.node.js'
import type { ModelFiles } from '../shared/protocol/messages.js'
import { download } from './download.node.js'
import type { FileSource } from './file-requests.js'

/** How far the fetching of some files is. */
export interface FetchProgress {
  /** The file that is being fetched. */
  readonly file: string
  /** Of all the files that are fetched now; what an earlier process had fetched of them counts. */
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface Fetcher {
  readonly source: FileSource
  readonly pieceBytes: number
  readonly onProgress: (progress: FetchProgress) => void
}

/** The files beside the weights. */
export interface Texts {
  readonly folder: string
  readonly files: ModelFiles['files']
}

/**
 * The folder of the files beside the weights. It goes by their own hashes: the digest is over the weights alone, and another server may have
 * the same ones with another config.json.
 */
export async function textFolder({ files }: ModelFiles, cache: string): Promise<Texts> {
  const known = TEXT_FILES.filter((file) => Object.hasOwn(files, file)).sort(compareCodeUnits)
  const hash = createHash('sha256').update(JSON.stringify(known.map((file) => [file, files[file].sha256])))
  const folder = join(cache, 'models', hash.digest('hex'))
  await makeCacheFolder(folder)
  return { folder, files }
}

/** Fetches those of them that there are. @throws UserError MODEL_CORRUPT for one that is too large, and as `download`. */
export async function fetchTexts({ folder, files }: Texts, wanted: readonly string[], fetcher: Fetcher): Promise<void> {
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

export interface WeightsWanted {
  readonly names: Iterable<string>
  /** In float32, which alone can be checked. */
  readonly preparation: Preparation
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly sources: ReadonlyMap<string, DigestedTensor>
  readonly listed: ModelFiles
  readonly cache: string
}

/**
 * The prepared files that hold these tensors, and no others; what the cache has is not fetched.
 * @throws UserError MODEL_DIGEST_DIFFERS if the server has other weights than those of the digest, MODEL_UNSUPPORTED for weights that cannot
 *   be checked, CACHE_UNWRITABLE, and as `download`.
 */
export async function fetchWeights(wanted: WeightsWanted, fetcher: Fetcher): Promise<PreparedWeights> {
  const { names, shapes, sources, preparation, listed } = wanted
  const folder = preparedFolder(preparation, wanted.cache)
  await makeCacheFolder(folder)
  const layouts = new Map<string, Layout>()
  for (const file of new Set([...names].map(preparation.fileOf))) layouts.set(file, layoutOf(file, shapes, preparation))
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
  return preparedStore(folder, preparation, layouts, prepared)
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
