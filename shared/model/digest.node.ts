/**
 * @file Digests an open checkpoint. Hashing half a gigabyte takes a second, so what was hashed is remembered until the file changes.
 */
import { createHash } from 'node:crypto'
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { writeAtomically } from './atomic-file.node.js'
import { cacheFolder, makeCacheFolder } from './cache.node.js'
import type { Checkpoint, CheckpointTensor } from './checkpoint.node.js'
import { modelDigest, type DigestedTensor, type ModelDigest } from './digest.js'
import { optionalJson } from './json-file.node.js'

const MAX_MEMORY_BYTES = 64 * 2 ** 20
/** A file changed so lately may change again and keep its time stamp, so its hashes are not remembered. */
const SETTLED_MS = 1000

/**
 * All tensors that the checkpoint lists, under the names that it lists them by, with the SHA-256 of their bytes: what its digest is made of.
 *
 * @param cache the cache folder; hashes are remembered in its `digests`. One that cannot be written costs time, and is no error.
 * @throws UserError MODEL_CORRUPT if a file cannot be read to its end.
 */
export async function digestedTensors(checkpoint: Checkpoint, cache: string = cacheFolder()): Promise<DigestedTensor[]> {
  const byFile = new Map<string, CheckpointTensor[]>()
  for (const tensor of checkpoint.tensors.values()) {
    const tensors = byFile.get(tensor.file)
    if (tensors) tensors.push(tensor)
    else byFile.set(tensor.file, [tensor])
  }
  const digested: DigestedTensor[] = []
  for (const [file, tensors] of byFile) {
    const hashes = await hashesOf(checkpoint, file, tensors, cache)
    for (const { name, nameInFile, dtype, shape } of tensors) digested.push({ name, dtype, shape, bytesSha256: hashes.get(nameInFile)! })
  }
  return digested
}

/** The digest over all tensors that the checkpoint lists. Throws as digestedTensors. */
export async function digestCheckpoint(checkpoint: Checkpoint, cache?: string): Promise<ModelDigest> {
  return modelDigest(await digestedTensors(checkpoint, cache))
}

/** SHA-256 of the bytes of each tensor of a file, by its name in the file. */
async function hashesOf(
  checkpoint: Checkpoint,
  file: string,
  tensors: readonly CheckpointTensor[],
  cache: string,
): Promise<Map<string, string>> {
  const path = await realpath(join(checkpoint.folder, file))
  const folder = join(cache, 'digests')
  const memory = join(folder, `${createHash('sha256').update(path).digest('hex')}.json`)
  const before = await checkpoint.version(file)
  const hashes = await recall(memory, before.stamp)
  const unknown = tensors.filter(({ nameInFile }) => !hashes.has(nameInFile))
  if (unknown.length === 0) return hashes
  for (const { name, nameInFile } of unknown) {
    const hash = createHash('sha256')
    for await (const piece of checkpoint.pieces(name)) hash.update(piece)
    hashes.set(nameInFile, hash.digest('hex'))
  }
  const after = await checkpoint.version(file)
  const isSettled = Date.now() - before.modifiedMs > SETTLED_MS
  if (isSettled && after.stamp === before.stamp) await remember(folder, memory, before.stamp, hashes)
  return hashes
}

async function recall(memory: string, stamp: string): Promise<Map<string, string>> {
  const known = await optionalJson(memory, MAX_MEMORY_BYTES, 'MODEL_CORRUPT').catch(() => null)
  if (known?.stamp !== stamp || typeof known.tensors !== 'object' || known.tensors === null) return new Map()
  const entries = Object.entries(known.tensors).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string' && /^[0-9a-f]{64}$/.test(entry[1]),
  )
  return new Map(entries)
}

async function remember(folder: string, memory: string, stamp: string, hashes: ReadonlyMap<string, string>): Promise<void> {
  try {
    await makeCacheFolder(folder)
    await writeAtomically(memory, (handle) => handle.writeFile(JSON.stringify({ stamp, tensors: Object.fromEntries(hashes) })))
  } catch {
    // It is hashed again next time; what must be written says so itself.
  }
}
