/**
 * @file The files of the prepared-weights cache: a model's weights as little-endian float32, or with matrices in 8-bit blocks, one file per
 * group of tensors, ready to be mapped into memory.
 *
 * `<cache>/weights/<digest>-<precision>/` holds `<group>.bin` and, beside each, `<group>.bin.json` that says what must be in it. What a group
 * holds follows from the model's tensors and the group's name alone: a file is the same whether it was made here from a checkpoint
 * (prepared.node.ts) or fetched from a server.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { join } from 'node:path'
import { blockBytes, dequantize, mapMatrix, type Direction, type QuantizedMatrix } from '../backend/blocks.js'
import type { Precision, WeightLocation, WeightSpec, WeightStore } from '../backend/weights.js'
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
  readonly tensors: readonly TensorLayout[]
}

export type TensorLayout = {
  readonly name: string
  readonly shape: readonly number[]
} & (
  | { /** Of the float32 numbers. */ readonly offset: number }
  | {
      /** Of each part of the blocks. */
      readonly offsets: QuantizedMatrix<number>
      /** The direction whose blocks were made of the numbers themselves. */
      readonly primary: Direction
    }
)

/** How the prepared files of a model are made. */
export interface Preparation {
  /** The model's digest. */
  readonly model: string
  readonly precision: Precision
  /** The file that a tensor belongs to, as `block-0.bin`. The same for every process. */
  readonly fileOf: (name: string) => string
  /** Direction of a matrix's primary blocks; null for a tensor that stays float32. */
  readonly blocksOf: (name: string) => Direction | null
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
export function preparedFolder({ model, precision }: Pick<Preparation, 'model' | 'precision'>, cache: string = cacheFolder()): string {
  return join(cache, 'weights', `${model}-${precision}`)
}

/** @param shapes of all tensors of the model; `fileOf` says which of them the file holds. */
export function layoutOf(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  { model, fileOf, blocksOf }: Pick<Preparation, 'model' | 'fileOf' | 'blocksOf'>,
): Layout {
  let bytes = 0
  const place = (size: number): number => {
    const offset = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
    bytes = offset + size
    return offset
  }
  const tensors = [...shapes.keys()]
    .filter((name) => fileOf(name) === file)
    .sort()
    .map((name): TensorLayout => {
      const shape = shapes.get(name)!
      const primary = blocksOf(name)
      return primary === null
        ? { name, shape, offset: place(elements(shape) * 4) }
        : { name, shape, offsets: mapMatrix(matrixBytes(shape), place), primary }
    })
  return { version: MANIFEST_VERSION, model, bytes, tensors }
}

/** Bytes of the parts of a matrix in blocks, in the order that files have them. */
function matrixBytes([rows, columns]: readonly number[]): QuantizedMatrix<number> {
  return { rows: blockBytes(rows, columns), columns: blockBytes(columns, rows) }
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
  { model: digest, precision }: Pick<Preparation, 'model' | 'precision'>,
  layouts: ReadonlyMap<string, Layout>,
  files: ReadonlyMap<string, PreparedFile>,
): PreparedWeights {
  const tensors = new Map<string, TensorLayout & { readonly file: string }>()
  for (const [file, layout] of layouts) for (const tensor of layout.tensors) tensors.set(tensor.name, { ...tensor, file })
  const locate = (name: string): WeightLocation | null => {
    const tensor = tensors.get(name)
    return tensor && 'offset' in tensor ? { file: tensor.file, offset: tensor.offset, bytes: elements(tensor.shape) * 4 } : null
  }
  const quantized = (name: string): QuantizedMatrix<WeightLocation> | null => {
    const tensor = tensors.get(name)
    if (!tensor || 'offset' in tensor) return null
    const { file, shape, offsets } = tensor
    const sizes = matrixBytes(shape)
    const part = (direction: Direction, which: 'codes' | 'scales'): WeightLocation => ({
      file,
      offset: offsets[direction][which],
      bytes: sizes[direction][which],
    })
    return {
      rows: { codes: part('rows', 'codes'), scales: part('rows', 'scales') },
      columns: { codes: part('columns', 'codes'), scales: part('columns', 'scales') },
    }
  }
  return {
    precision,
    digest: precision === 'fp32' ? digest : `${digest}-${precision}`,
    specs: new Map([...tensors].map(([name, { shape }]): [string, WeightSpec] => [name, { name, shape }])),
    folder,
    files,
    locate,
    quantized,
    async read(name) {
      const tensor = tensors.get(name)
      if (!tensor) throw missingWeight(name, folder)
      if ('offset' in tensor) return new Float32Array((await readPart(folder, name, locate(name)!)).buffer)
      const { codes, scales } = quantized(name)![tensor.primary]
      const blocks = { codes: await readPart(folder, name, codes), scales: await readPart(folder, name, scales) }
      return dequantize(blocks, tensor.shape, tensor.primary)
    },
  }
}

async function readPart(folder: string, name: string, { file, offset, bytes }: WeightLocation): Promise<Uint8Array<ArrayBuffer>> {
  const part = new Uint8Array(bytes)
  const handle = await open(join(folder, file), 'r')
  try {
    let filled = 0
    while (filled < bytes) {
      const { bytesRead } = await handle.read(part, filled, bytes - filled, offset + filled)
      if (bytesRead === 0) {
        throw new UserError({
          code: 'MODEL_CORRUPT',
          what: `${name} cannot be read from the prepared weights`,
          why: `${join(folder, file)} was cut while it was in use`,
          fix: 'start again: the file is then made afresh',
        })
      }
      filled += bytesRead
    }
  } finally {
    await handle.close()
  }
  return part
}

export function missingWeight(name: string, where: string): UserError {
  return new UserError({
    code: 'TENSOR_MISSING',
    what: `there is no weight called ${name}`,
    why: `it was not found in ${where}`,
    fix: 'use a complete checkpoint of a family that is supported',
  })
}
