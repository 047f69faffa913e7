/**
 * @file The prepared-weights cache: a model's weights as little-endian float32, one file per group of tensors, ready to be mapped into memory.
 *
 * `<cache>/weights/<digest>-<precision>/` holds `<group>.bin` and, beside each, `<group>.bin.json` that says what must be in it. What a group
 * holds follows from the checkpoint and `fileOf` alone, so processes that prepare at once write the same bytes, and any of them may come last.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { WeightLocation, WeightSpec, WeightStore } from '../backend/weights.js'
import { UserError, unreachable } from '../errors.js'
import { elements } from '../tensor.js'
import { removeStaleTemporaries, writeAtomically } from './atomic-file.node.js'
import { asCacheError, cacheFolder, makeCacheFolder } from './cache.node.js'
import type { Checkpoint } from './checkpoint.node.js'
import { tensorDigest, type ModelDigest } from './digest.js'
import { toFloat32 } from './dtype.js'
import { optionalJson } from './json-file.node.js'

/** Tensors begin at multiples of a memory page, as mapping a part of a file needs. */
const ALIGNMENT = 4096
const MAX_MANIFEST_BYTES = 64 * 2 ** 20
const MANIFEST_VERSION = 1

export interface PrepareOptions {
  /** Lists exactly the model's tensors: rename away what the model does not use (see renameTensors). It may be closed afterwards. */
  readonly checkpoint: Checkpoint
  /** Of that checkpoint; what is written is checked against it. */
  readonly digest: ModelDigest
  /** The tensors needed. Their groups are prepared whole, and no others. */
  readonly names: Iterable<string>
  /** The file that a tensor belongs to, as `block-0.bin`. The same for every process. */
  readonly fileOf: (name: string) => string
  readonly cache?: string
  /** Ends the preparations between two pieces of a tensor; nothing half-written stays. */
  readonly signal?: AbortSignal | undefined
}

/** What a file must hold. Two of them are the same if their JSON is. */
interface Layout {
  readonly version: number
  readonly model: string
  readonly bytes: number
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly offset: number }[]
}

/**
 * Makes sure that the groups of `names` lie in the cache, and opens them.
 *
 * A file that is there already is used if it is as its manifest says: size and time stamp, or else its SHA-256. Otherwise it is made again.
 *
 * @throws UserError TENSOR_MISSING for a name that the checkpoint does not list, CACHE_UNWRITABLE, MODEL_UNSUPPORTED for a tensor that is
 *   no float, MODEL_CORRUPT if the checkpoint is no longer what its digest says. The signal's reason.
 */
export async function prepareWeights({
  checkpoint,
  digest,
  names,
  fileOf,
  cache = cacheFolder(),
  signal,
}: PrepareOptions): Promise<WeightStore> {
  const folder = join(cache, 'weights', `${digest.model}-fp32`)
  const files = new Set<string>()
  for (const name of names) {
    if (!checkpoint.tensors.has(name)) throw missing(name, checkpoint.folder)
    files.add(fileOf(name))
  }
  await makeCacheFolder(folder)
  const specs = new Map<string, WeightSpec>()
  const locations = new Map<string, WeightLocation>()
  try {
    await removeStaleTemporaries(folder)
    for (const file of [...files].sort()) {
      if (!/^[\w-][\w.-]*$/.test(file)) unreachable(`${file} is no name for a prepared file`)
      const layout = layoutOf(file, checkpoint, digest, fileOf)
      if (!(await isPrepared(folder, file, layout))) await prepareFile(folder, file, layout, checkpoint, digest, signal)
      for (const { name, shape, offset } of layout.tensors) {
        specs.set(name, { name, shape })
        locations.set(name, { file, offset, bytes: elements(shape) * 4 })
      }
    }
  } catch (error) {
    throw asCacheError(folder, error)
  }
  return preparedStore(folder, digest.model, specs, locations)
}

function missing(name: string, where: string): UserError {
  return new UserError({
    code: 'TENSOR_MISSING',
    what: `there is no weight called ${name}`,
    why: `it was not found in ${where}`,
    fix: 'use a complete checkpoint of a family that is supported',
  })
}

function layoutOf(file: string, checkpoint: Checkpoint, digest: ModelDigest, fileOf: (name: string) => string): Layout {
  let bytes = 0
  const tensors = [...checkpoint.tensors.keys()]
    .filter((name) => fileOf(name) === file)
    .sort()
    .map((name) => {
      const { shape } = checkpoint.tensors.get(name)!
      const offset = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
      bytes = offset + elements(shape) * 4
      return { name, shape, offset }
    })
  return { version: MANIFEST_VERSION, model: digest.model, bytes, tensors }
}

function manifestOf(file: string): string {
  return `${file}.json`
}

/** Size, times and inode of a plain file, or null if there is none. A link does not count: it may lead anywhere. */
async function stampOf(path: string): Promise<{ readonly bytes: number; readonly stamp: string } | null> {
  const stats = await lstat(path, { bigint: true }).catch(() => null)
  if (!stats?.isFile()) return null
  return { bytes: Number(stats.size), stamp: [stats.size, stats.mtimeNs, stats.ino].join(' ') }
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** Whether a file is there and whole. Its SHA-256 is worked out only if its stamp is not the one that the manifest has. */
async function isPrepared(folder: string, file: string, layout: Layout): Promise<boolean> {
  const path = join(folder, file)
  const found = await stampOf(path)
  if (found?.bytes !== layout.bytes) return false
  const manifest = await optionalJson(join(folder, manifestOf(file)), MAX_MANIFEST_BYTES, 'MODEL_CORRUPT').catch(() => null)
  if (!manifest || JSON.stringify(manifest.layout) !== JSON.stringify(layout) || typeof manifest.sha256 !== 'string') return false
  if (manifest.stamp === found.stamp) return true
  if ((await sha256Of(path)) !== manifest.sha256) return false
  // The new stamp saves the next process the hash; a cache that is good but read-only is good all the same.
  await writeManifest(folder, file, layout, manifest.sha256).catch(() => undefined)
  return true
}

async function writeManifest(folder: string, file: string, layout: Layout, sha256: string): Promise<void> {
  const stamp = (await stampOf(join(folder, file)))?.stamp
  await writeAtomically(join(folder, manifestOf(file)), (handle) => handle.writeFile(JSON.stringify({ layout, sha256, stamp })))
}

async function prepareFile(
  folder: string,
  file: string,
  layout: Layout,
  checkpoint: Checkpoint,
  digest: ModelDigest,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sha256 = await writeAtomically(join(folder, file), async (handle) => {
    const hash = createHash('sha256')
    let position = 0
    const append = async (bytes: Uint8Array): Promise<void> => {
      signal?.throwIfAborted()
      hash.update(bytes)
      await writeFully(handle, bytes, position)
      position += bytes.length
    }
    for (const { name, offset } of layout.tensors) {
      await append(new Uint8Array(offset - position))
      await appendTensor(name, checkpoint, digest, append)
    }
    if (position !== layout.bytes) unreachable(`${position} bytes were written to ${file}, which is to have ${layout.bytes}`)
    return hash.digest('hex')
  })
  await writeManifest(folder, file, layout, sha256)
}

/** Converts a tensor piece by piece, and makes sure that its bytes are those that the digest was made of. */
async function appendTensor(
  name: string,
  checkpoint: Checkpoint,
  digest: ModelDigest,
  append: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { dtype, shape, file } = checkpoint.tensors.get(name)!
  const source = { name: file, code: 'MODEL_CORRUPT' } as const
  const hash = createHash('sha256')
  toFloat32({ name, dtype, bytes: new Uint8Array(0) }, source) // refuses a type that is no float before anything is read
  for await (const bytes of checkpoint.pieces(name)) {
    hash.update(bytes)
    await append(new Uint8Array(toFloat32({ name, dtype, bytes }, source).buffer))
  }
  const found = await tensorDigest({ name, dtype, shape, bytesSha256: hash.digest('hex') })
  if (found !== digest.tensors.get(name)) {
    throw new UserError({
      code: 'MODEL_CORRUPT',
      what: `the model changed while ${name} was read`,
      why: `its bytes in ${file} are not those that the model's digest was made of`,
      fix: 'start again once the file is no longer being written',
    })
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0
  while (written < bytes.length) written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten
}

function preparedStore(
  folder: string,
  digest: string,
  specs: ReadonlyMap<string, WeightSpec>,
  locations: ReadonlyMap<string, WeightLocation>,
): WeightStore {
  return {
    digest,
    specs,
    folder,
    locate: (name) => locations.get(name) ?? null,
    async read(name) {
      const location = locations.get(name)
      if (!location) throw missing(name, folder)
      const bytes = new Uint8Array(location.bytes)
      const handle = await open(join(folder, location.file), 'r')
      try {
        let filled = 0
        while (filled < bytes.length) {
          const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, location.offset + filled)
          if (bytesRead === 0) {
            throw new UserError({
              code: 'MODEL_CORRUPT',
              what: `${name} cannot be read from the prepared weights`,
              why: `${join(folder, location.file)} was cut while it was in use`,
              fix: 'start again: the file is then made afresh',
            })
          }
          filled += bytesRead
        }
      } finally {
        await handle.close()
      }
      return new Float32Array(bytes.buffer)
    },
  }
}
