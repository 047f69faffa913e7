/**
 * @file The files of the prepared-weights cache: a model's weights as little-endian float32, one file per group of tensors, ready to be
 * mapped into memory.
 *
 * `<cache>/weights/<digest>-<precision>/` holds `<group>.bin` and, beside each, `<group>.bin.json` that says what must be in it. What a group
 * holds follows from the model's tensors and the group's name alone: a file is the same whether it was made here from a checkpoint
 * (prepared.node.ts) or fetched from a server.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { WeightLocation, WeightSpec, WeightStore } from '../backend/weights.js'
import { UserError } from '../errors.js'
import { elements } from '../tensor.js'
import { writeAtomically } from './atomic-file.node.js'
import { cacheFolder } from './cache.node.js'
import { optionalJson } from './json-file.node.js'

/** Tensors begin at multiples of a memory page, as mapping a part of a file needs. */
const ALIGNMENT = 4096
const MAX_MANIFEST_BYTES = 64 * 2 ** 20
const MANIFEST_VERSION = 1

/** What a file must hold. Two of them are the same if their JSON is. */
export interface Layout {
  readonly version: number
  /** The model's digest. */
  readonly model: string
  readonly bytes: number
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly offset: number }[]
}

export interface PreparedFile {
  readonly bytes: number
  /** Lower-case hex. */
  readonly sha256: string
}

/** Weights in the cache, and the files that hold them. */
export interface PreparedWeights extends WeightStore {
  readonly folder: string
  readonly files: ReadonlyMap<string, PreparedFile>
}

/** Where the prepared files of a model lie. */
export function preparedFolder(modelDigest: string, cache: string = cacheFolder()): string {
  return join(cache, 'weights', `${modelDigest}-fp32`)
}

/** @param shapes of all tensors of the model; `fileOf` says which of them the file holds. */
export function layoutOf(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  modelDigest: string,
  fileOf: (name: string) => string,
): Layout {
  let bytes = 0
  const tensors = [...shapes.keys()]
    .filter((name) => fileOf(name) === file)
    .sort()
    .map((name) => {
      const shape = shapes.get(name)!
      const offset = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
      bytes = offset + elements(shape) * 4
      return { name, shape, offset }
    })
  return { version: MANIFEST_VERSION, model: modelDigest, bytes, tensors }
}

/** Size, times and inode of a plain file, or null if there is none. A link does not count: it may lead anywhere. */
async function stampOf(path: string): Promise<{ readonly bytes: number; readonly stamp: string } | null> {
  const stats = await lstat(path, { bigint: true }).catch(() => null)
  if (!stats?.isFile()) return null
  return { bytes: Number(stats.size), stamp: [stats.size, stats.mtimeNs, stats.ino].join(' ') }
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** The file if it is there and whole, else null. Its SHA-256 is worked out only if its stamp is not the one that its manifest has. */
export async function findPrepared(folder: string, file: string, layout: Layout): Promise<PreparedFile | null> {
  const path = join(folder, file)
  const found = await stampOf(path)
  if (found?.bytes !== layout.bytes) return null
  const manifest = await optionalJson(manifestPath(folder, file), MAX_MANIFEST_BYTES, 'MODEL_CORRUPT').catch(() => null)
  if (!manifest || JSON.stringify(manifest.layout) !== JSON.stringify(layout) || typeof manifest.sha256 !== 'string') return null
  const prepared = { bytes: layout.bytes, sha256: manifest.sha256 }
  if (manifest.stamp === found.stamp) return prepared
  if ((await sha256Of(path)) !== manifest.sha256) return null
  // The new stamp saves the next process the hash; a cache that is good but read-only is good all the same.
  await notePrepared(folder, file, layout, manifest.sha256).catch(() => undefined)
  return prepared
}

/** Writes down what a file is that lies in its place. */
export async function notePrepared(folder: string, file: string, layout: Layout, sha256: string): Promise<PreparedFile> {
  const stamp = (await stampOf(join(folder, file)))?.stamp
  await writeAtomically(manifestPath(folder, file), (handle) => handle.writeFile(JSON.stringify({ layout, sha256, stamp })))
  return { bytes: layout.bytes, sha256 }
}

function manifestPath(folder: string, file: string): string {
  return join(folder, `${file}.json`)
}

/** Opens files that are there and whole. @param layouts by file; they are of one model */
export function preparedStore(
  folder: string,
  digest: string,
  layouts: ReadonlyMap<string, Layout>,
  files: ReadonlyMap<string, PreparedFile>,
): PreparedWeights {
  const specs = new Map<string, WeightSpec>()
  const locations = new Map<string, WeightLocation>()
  for (const [file, { tensors }] of layouts) {
    for (const { name, shape, offset } of tensors) {
      specs.set(name, { name, shape })
      locations.set(name, { file, offset, bytes: elements(shape) * 4 })
    }
  }
  return {
    digest,
    specs,
    folder,
    files,
    locate: (name) => locations.get(name) ?? null,
    async read(name) {
      const location = locations.get(name)
      if (!location) throw missingWeight(name, folder)
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

export function missingWeight(name: string, where: string): UserError {
  return new UserError({
    code: 'TENSOR_MISSING',
    what: `there is no weight called ${name}`,
    why: `it was not found in ${where}`,
    fix: 'use a complete checkpoint of a family that is supported',
  })
}
