/**
 * @file Opens a model folder in Hugging Face form. Tensors are read by range: never a whole file, never more than one tensor.
 */
import { open, stat, type FileHandle } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { UserError } from '../errors.js'
import { elements } from '../tensor.js'
import { elementBytes, toFloat32, type Source } from './dtype.js'
import { optionalJson, requiredJson, type JsonObject } from './json-file.node.js'
import { PREFIX_BYTES, parseHeader, parseHeaderLength, type TensorEntry } from './safetensors.js'
import { corruptFile, INDEX, listWeightFiles } from './weight-files.node.js'

/** Where one tensor of a checkpoint lies. */
export interface CheckpointTensor extends TensorEntry {
  /** Under which the checkpoint lists it: the name in the file, unless renameTensors changed it. */
  readonly name: string
  readonly nameInFile: string
  /** File name inside the folder. */
  readonly file: string
}

export interface Checkpoint {
  /** Absolute. */
  readonly folder: string
  /** config.json: an object, otherwise as it is. */
  readonly config: unknown
  /** generation_config.json, or null without one. */
  readonly generationConfig: unknown
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  /**
   * The tensor's values, row-major; F64 is rounded.
   * @throws UserError TENSOR_MISSING, MODEL_UNSUPPORTED for a type that is no float, MODEL_CORRUPT if the file got shorter.
   */
  readF32(name: string): Promise<Float32Array<ArrayBuffer>>
  /** The tensor's bytes in pieces of at most `pieceBytes` (a multiple of 8). A piece is good until the next is asked for. Throws as readF32. */
  pieces(name: string, pieceBytes?: number): AsyncGenerator<Uint8Array<ArrayBuffer>>
  /** Says whether an open file is still the one that it was: it differs after any change. */
  version(file: string): Promise<{ readonly stamp: string; readonly modifiedMs: number }>
  /** Closes the files; reading after it is a bug. */
  close(): Promise<void>
}

const MAX_CONFIG_BYTES = 16 * 2 ** 20
const PIECE_BYTES = 8 * 2 ** 20

/**
 * Opens a model folder: config.json and model.safetensors, or model.safetensors.index.json with its shards.
 *
 * @param isWanted by its name in the file; other tensors are not listed, and shards that hold none of them need not be there.
 * @throws UserError MODEL_NOT_FOUND, MODEL_CORRUPT or MODEL_UNSUPPORTED, each naming the file.
 */
export async function openCheckpoint(nameOrFolder: string, isWanted: (name: string) => boolean = () => true): Promise<Checkpoint> {
  const folder = resolve(nameOrFolder)
  const config = await readConfig(folder, nameOrFolder)
  const generationConfig = await optionalJson(join(folder, 'generation_config.json'), MAX_CONFIG_BYTES, 'MODEL_CORRUPT')
  const shards = await listWeightFiles(folder, isWanted)
  const handles = new Map<string, FileHandle>()
  try {
    const tensors = new Map<string, CheckpointTensor>()
    for (const [file, wanted] of shards) {
      const handle = await openShard(folder, file)
      handles.set(file, handle)
      const entries = await readEntries(handle, file)
      for (const name of wanted ?? [...entries.keys()].filter(isWanted)) {
        const entry = entries.get(name)
        if (!entry) throw corruptFile(INDEX, `it says that ${name} is in ${file}, which does not hold it`)
        tensors.set(name, { ...entry, nameInFile: name, file })
      }
    }
    return checkpointOf({ folder, config, generationConfig, tensors, handles })
  } catch (error) {
    await Promise.all([...handles.values()].map((handle) => handle.close()))
    throw error
  }
}

/**
 * The same checkpoint under other names; it shares the open files.
 *
 * @param rename from a name in a file to the one wanted; null leaves the tensor out.
 * @throws UserError MODEL_CORRUPT if two tensors get one name.
 */
export function renameTensors(checkpoint: Checkpoint, rename: (name: string) => string | null): Checkpoint {
  const oldNames = new Map<string, string>()
  const tensors = new Map<string, CheckpointTensor>()
  for (const [oldName, tensor] of checkpoint.tensors) {
    const name = rename(oldName)
    if (name === null) continue
    const other = oldNames.get(name)
    if (other !== undefined) throw corruptFile(tensor.file, `it holds ${name} twice, as ${other} and as ${oldName}`)
    oldNames.set(name, oldName)
    tensors.set(name, { ...tensor, name })
  }
  // What is not under a new name goes on as it is and is refused under the name that was asked for.
  const oldName = (name: string): string => {
    const old = oldNames.get(name)
    if (old === undefined) throw missing(name, checkpoint.folder)
    return old
  }
  return {
    ...checkpoint,
    tensors,
    async readF32(name) {
      return checkpoint.readF32(oldName(name))
    },
    async *pieces(name, pieceBytes) {
      yield* checkpoint.pieces(oldName(name), pieceBytes)
    },
  }
}

function missing(name: string, folder: string): UserError {
  return new UserError({
    code: 'TENSOR_MISSING',
    what: `the model has no tensor ${name}`,
    why: `no file in ${folder} holds it`,
    fix: 'use a complete checkpoint of a family that is supported',
  })
}

/** config.json of a model folder. @param given what to call the folder. Throws as openCheckpoint. */
export async function readConfig(folder: string, given: string): Promise<JsonObject> {
  await checkFolder(given, folder)
  return requiredJson(join(folder, 'config.json'), MAX_CONFIG_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT')
}

async function checkFolder(given: string, folder: string): Promise<void> {
  const stats = await stat(folder).catch(() => null)
  if (stats?.isDirectory()) return
  if (stats) {
    throw new UserError({
      code: 'MODEL_NOT_FOUND',
      what: `${given} is not a model folder`,
      why: 'it is a file',
      fix: 'give the folder that holds config.json and model.safetensors',
    })
  }
  throw new UserError({
    code: 'MODEL_NOT_FOUND',
    what: `there is no model ${given}`,
    why: `the folder ${folder} does not exist`,
    fix: 'give a folder that holds config.json and model.safetensors, or the id of a model on the hub, such as org/name',
  })
}

async function openShard(folder: string, file: string): Promise<FileHandle> {
  try {
    return await open(join(folder, file), 'r')
  } catch (cause) {
    throw new UserError(
      {
        code: 'MODEL_NOT_FOUND',
        what: `${join(folder, file)} cannot be opened`,
        why: String((cause as Error).message),
        fix: 'make the file readable',
      },
      { cause },
    )
  }
}

/** Fills `target` from `position`, and says how many bytes there were. */
async function readFully(handle: FileHandle, target: Uint8Array, position: number): Promise<number> {
  let filled = 0
  while (filled < target.length) {
    const { bytesRead } = await handle.read(target, filled, target.length - filled, position + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}

async function readEntries(handle: FileHandle, file: string): Promise<ReadonlyMap<string, TensorEntry>> {
  const source: Source = { name: file, code: 'MODEL_CORRUPT' }
  const stats = await handle.stat()
  if (!stats.isFile()) throw corruptFile(file, 'it is not a file')
  const prefix = new Uint8Array(Math.min(PREFIX_BYTES, stats.size))
  await readFully(handle, prefix, 0)
  const header = new Uint8Array(parseHeaderLength(prefix, stats.size, source))
  const filled = await readFully(handle, header, PREFIX_BYTES)
  return parseHeader(header.subarray(0, filled), stats.size, source).tensors
}

interface Opened extends Pick<Checkpoint, 'folder' | 'config' | 'generationConfig' | 'tensors'> {
  readonly handles: ReadonlyMap<string, FileHandle>
}

function checkpointOf({ folder, config, generationConfig, tensors, handles }: Opened): Checkpoint {
  function entryOf(name: string): CheckpointTensor {
    const entry = tensors.get(name)
    if (!entry) throw missing(name, folder)
    return entry
  }
  async function* pieces(name: string, pieceBytes = PIECE_BYTES): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { file, offset, bytes } = entryOf(name)
    const buffer = new Uint8Array(Math.min(pieceBytes, bytes))
    for (let done = 0; done < bytes; done += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, bytes - done))
      const filled = await readFully(handles.get(file)!, piece, offset + done)
      if (filled < piece.length) throw corruptFile(file, `it ended within ${name}; it was changed after it was opened`)
      yield piece
    }
  }
  return {
    folder,
    config,
    generationConfig,
    tensors,
    pieces,
    async version(file) {
      const { size, mtimeNs, ctimeNs, ino, mtimeMs } = await handles.get(file)!.stat({ bigint: true })
      return { stamp: [size, mtimeNs, ctimeNs, ino].join(' '), modifiedMs: Number(mtimeMs) }
    },
    async readF32(name) {
      const { dtype, shape, file } = entryOf(name)
      const source: Source = { name: file, code: 'MODEL_CORRUPT' }
      // An empty tensor has no piece, and is to be refused all the same if its type is wrong.
      if (elementBytes(dtype) === null || elements(shape) === 0) return toFloat32({ name, dtype, bytes: new Uint8Array(0) }, source)
      const values = new Float32Array(elements(shape))
      let filled = 0
      for await (const bytes of pieces(name)) {
        const converted = toFloat32({ name, dtype, bytes }, source)
        values.set(converted, filled)
        filled += converted.length
      }
      return values
    },
    async close() {
      await Promise.all([...handles.values()].map((handle) => handle.close()))
    },
  }
}
