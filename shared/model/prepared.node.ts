/**
 * @file Fills the prepared-weights cache from a checkpoint on this machine.
 *
 * Processes that prepare the same group at once write the same bytes (see prepared-files.node.ts), and any of them may come last.
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError, unreachable } from '../errors.js'
import { removeStaleTemporaries, writeAtomically } from './atomic-file.node.js'
import { asCacheError, cacheFolder, makeCacheFolder } from './cache.node.js'
import type { Checkpoint } from './checkpoint.node.js'
import { tensorDigest, type ModelDigest } from './digest.js'
import { toFloat32 } from './dtype.js'
import {
  findPrepared,
  layoutOf,
  missingWeight,
  notePrepared,
  preparedFolder,
  preparedStore,
  type Layout,
  type PreparedFile,
  type PreparedWeights,
} from './prepared-files.node.js'

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
}: PrepareOptions): Promise<PreparedWeights> {
  const folder = preparedFolder(digest.model, cache)
  const groups = new Set<string>()
  for (const name of names) {
    if (!checkpoint.tensors.has(name)) throw missingWeight(name, checkpoint.folder)
    groups.add(fileOf(name))
  }
  await makeCacheFolder(folder)
  const shapes = new Map([...checkpoint.tensors].map(([name, { shape }]) => [name, shape]))
  const layouts = new Map<string, Layout>()
  const files = new Map<string, PreparedFile>()
  try {
    await removeStaleTemporaries(folder)
    for (const file of [...groups].sort()) {
      if (!/^[\w-][\w.-]*$/.test(file)) unreachable(`${file} is no name for a prepared file`)
      const layout = layoutOf(file, shapes, digest.model, fileOf)
      layouts.set(file, layout)
      files.set(file, (await findPrepared(folder, file, layout)) ?? (await prepareFile(folder, file, layout, checkpoint, digest, signal)))
    }
  } catch (error) {
    throw asCacheError(folder, error)
  }
  return preparedStore(folder, digest.model, layouts, files)
}

async function prepareFile(
  folder: string,
  file: string,
  layout: Layout,
  checkpoint: Checkpoint,
  digest: ModelDigest,
  signal: AbortSignal | undefined,
): Promise<PreparedFile> {
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
  return notePrepared(folder, file, layout, sha256)
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
