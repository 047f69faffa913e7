/**
 * @file Fills the prepared-weights cache from numbers on this machine: a checkpoint's, or those of another precision.
 *
 * Processes that prepare the same group at once write the same bytes (see prepared-files.node.ts), and any of them may come last.
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { MatrixQuantizer } from '../backend/blocks.js'
import { UserError, unreachable } from '../errors.js'
import { removeStaleTemporaries, writeAtomically } from './atomic-file.node.js'
import { asCacheError, cacheFolder, makeCacheFolder } from './cache.node.js'
import type { Precision } from '../backend/weights.js'
import type { Checkpoint } from './checkpoint.node.js'
import { tensorDigest, type ModelDigest } from './digest.js'
import { toFloat32 } from './dtype.js'
import { fileOf } from './families/family.js'
import type { ModelDefinition } from './graphs.js'
import { matricesInBlocks } from './precision.js'
import {
  findPrepared,
  layoutOf,
  missingWeight,
  notePrepared,
  preparedFolder,
  preparedStore,
  type Layout,
  type Preparation,
  type PreparedFile,
  type PreparedWeights,
} from './prepared-files.node.js'

/** The numbers of a model. */
export interface NumberSource {
  /** For messages: the folder they are in. */
  readonly where: string
  /** Of exactly the model's tensors. */
  readonly shapes: ReadonlyMap<string, readonly number[]>
  /**
   * A tensor's numbers, row-major, in pieces of any size.
   * @throws UserError MODEL_UNSUPPORTED for one that is no float, MODEL_CORRUPT after the last piece if it was not what it should have been.
   */
  pieces(name: string): AsyncIterable<Float32Array>
}

/** How a model's files are prepared in a precision. @param digest the model's */
export function preparationOf(definition: ModelDefinition, digest: string, precision: Precision): Preparation {
  const matrices = matricesInBlocks(definition, precision)
  return {
    model: digest,
    precision,
    fileOf: (name) => fileOf(definition.family, name),
    blocksOf: (name) => matrices.get(name) ?? null,
  }
}

export interface PrepareOptions extends Preparation {
  readonly source: NumberSource
  /** The tensors needed. Their groups are prepared whole, and no others. */
  readonly names: Iterable<string>
  readonly cache?: string
  /** Ends the preparations between two pieces of a tensor; nothing half-written stays. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Makes sure that the groups of `names` lie in the cache, and opens them.
 *
 * A file that is there already is used if it is as its manifest says: size and time stamp, or else its SHA-256. Otherwise it is made again.
 *
 * @throws UserError TENSOR_MISSING for a name that the source does not have, CACHE_UNWRITABLE, and what the source throws. The signal's reason.
 */
export async function prepareWeights({
  source,
  names,
  cache = cacheFolder(),
  signal,
  ...preparation
}: PrepareOptions): Promise<PreparedWeights> {
  const folder = preparedFolder(preparation, cache)
  const groups = new Set<string>()
  for (const name of names) {
    if (!source.shapes.has(name)) throw missingWeight(name, source.where)
    groups.add(preparation.fileOf(name))
  }
  await makeCacheFolder(folder)
  const layouts = new Map<string, Layout>()
  const files = new Map<string, PreparedFile>()
  try {
    await removeStaleTemporaries(folder)
    for (const file of [...groups].sort()) {
      if (!/^[\w-][\w.-]*$/.test(file)) unreachable(`${file} is no name for a prepared file`)
      const layout = layoutOf(file, source.shapes, preparation)
      layouts.set(file, layout)
      files.set(file, (await findPrepared(folder, file, layout)) ?? (await prepareFile(folder, file, layout, source, signal)))
    }
  } catch (error) {
    throw asCacheError(folder, error)
  }
  return preparedStore(folder, preparation, layouts, files)
}

async function prepareFile(
  folder: string,
  file: string,
  layout: Layout,
  source: NumberSource,
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
    const appendAt = async (offset: number, bytes: Uint8Array): Promise<void> => {
      await append(new Uint8Array(offset - position))
      await append(bytes)
    }
    for (const tensor of layout.tensors) {
      if ('offset' in tensor) {
        await append(new Uint8Array(tensor.offset - position))
        for await (const numbers of source.pieces(tensor.name)) await append(bytesOf(numbers))
      } else {
        const [rows, columns] = tensor.shape
        const quantizer = new MatrixQuantizer(rows, columns, tensor.primary)
        for await (const numbers of source.pieces(tensor.name)) {
          signal?.throwIfAborted()
          quantizer.add(numbers)
        }
        const matrix = quantizer.finish()
        for (const direction of ['rows', 'columns'] as const)
          for (const part of ['codes', 'scales'] as const) await appendAt(tensor.offsets[direction][part], matrix[direction][part])
      }
    }
    if (position !== layout.bytes) unreachable(`${position} bytes were written to ${file}, which is to have ${layout.bytes}`)
    return hash.digest('hex')
  })
  return notePrepared(folder, file, layout, sha256)
}

/** @param checkpoint lists exactly the model's tensors: rename away what the model does not use (see renameTensors) */
export function checkpointNumbers(checkpoint: Checkpoint, digest: ModelDigest): NumberSource {
  return {
    where: checkpoint.folder,
    shapes: new Map([...checkpoint.tensors].map(([name, { shape }]) => [name, shape])),
    async *pieces(name) {
      const { dtype, shape, file } = checkpoint.tensors.get(name)!
      const origin = { name: file, code: 'MODEL_CORRUPT' } as const
      const hash = createHash('sha256')
      toFloat32({ name, dtype, bytes: new Uint8Array(0) }, origin) // refuses a type that is no float before anything is read
      for await (const bytes of checkpoint.pieces(name)) {
        hash.update(bytes)
        yield toFloat32({ name, dtype, bytes }, origin)
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
    },
  }
}

/** The numbers of weights that are prepared already. */
export function preparedNumbers(weights: PreparedWeights): NumberSource {
  return {
    where: weights.folder,
    shapes: new Map([...weights.specs].map(([name, { shape }]) => [name, shape])),
    async *pieces(name) {
      yield await weights.read(name)
    },
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0
  while (written < bytes.length) written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten
}
