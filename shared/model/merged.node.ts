/**
 * @file A model folder with an adapter merged into its weights, written tensor by tensor: never more than a piece of one is in memory.
 */
import { copyFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../errors.js'
import { elements, type NamedTensors } from '../tensor.js'
import { openCheckpoint, type Checkpoint, type CheckpointTensor } from './checkpoint.node.js'
import { DTYPE_BYTES, fromFloat32, toFloat32 } from './dtype.js'
import type { Family } from './families/family.js'
import { addLowRank, lowRankOf, type LowRank } from './merge.js'
import { ofModule, type PerModule } from './module-selection.js'
import { writeNewFolder } from './new-folder.node.js'
import { writeSafetensorsFile, type TensorToStream } from './safetensors-file.node.js'

/** Element types that a merged model can be written in, under the names that safetensors files give them. */
export type MergedDtype = 'F32' | 'F16' | 'BF16'

/** As transformers calls them in config.json. */
const TORCH_DTYPES: Readonly<Record<MergedDtype, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }
/** Halves end at 65504; from 65520 on a number rounds to infinity. */
const F16_LIMIT = 65520
const INDEX = 'model.safetensors.index.json'
/** What a folder needs beside config.json and weights: tokenizer, generation settings, licence. */
const COMPANIONS =
  /^(generation_config\.json|tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|chat_template\.(json|jinja)|(LICENSE|LICENCE|NOTICE)(\..+)?)$/i

export interface MergeOptions {
  /** Folder of the base model. */
  readonly model: string
  readonly family: Family
  /** Module paths that the adapter is on, its factor on them, and its A and B. */
  readonly adapter: { readonly paths: readonly string[]; readonly scale: PerModule; readonly tensors: NamedTensors }
  /** Does not exist yet, or is empty. */
  readonly out: string
  /** Of all float tensors; null: each as the base has it (F64 becomes F32). */
  readonly dtype: MergedDtype | null
  /** Hears how many tensors are written. */
  readonly onTensor?: (done: number, total: number) => void
}

export interface MergeResult {
  readonly tensors: number
  /** Tensors that the adapter changed. */
  readonly merged: number
  /** Element types in the files. */
  readonly dtypes: readonly string[]
  /** Of all tensors. */
  readonly bytes: number
  /** Names of the files written. */
  readonly files: readonly string[]
}

/**
 * Writes the merged model: the same tensors under the same names in the same files, W + scale B A where the adapter is.
 *
 * @throws UserError what openCheckpoint throws; BAD_ARGUMENT if `out` is occupied or a value is too large for F16; ADAPTER_CORRUPT if a
 *   merged value is no finite number; OUTPUT_UNWRITABLE. Nothing is left of what was begun.
 */
export async function writeMergedModel(options: MergeOptions): Promise<MergeResult> {
  const checkpoint = await openCheckpoint(options.model)
  try {
    const streams = [...checkpoint.tensors.values()].map((tensor) => ({
      file: tensor.file,
      stream: mergedTensor(checkpoint, tensor, options),
    }))
    const files = await writeNewFolder(options.out, async (folder) => {
      let done = 0
      for (const file of new Set(streams.map(({ file }) => file))) {
        const tensors = streams.filter((other) => other.file === file)
        await writeSafetensorsFile(
          join(folder, file),
          tensors.map(({ stream }) => ({ ...stream, pieces: () => counted(stream, () => options.onTensor?.(++done, streams.length)) })),
        )
      }
      await writeIndex(folder, streams)
      await writeConfig(folder, checkpoint, options.dtype)
      await copyCompanions(checkpoint.folder, folder)
      return (await readdir(folder)).sort()
    })
    return {
      tensors: streams.length,
      merged: streams.filter(({ stream }) => stream.isMerged).length,
      dtypes: [...new Set(streams.map(({ stream }) => stream.dtype))].sort(),
      bytes: streams.reduce((sum, { stream }) => sum + stream.bytes, 0),
      files,
    }
  } finally {
    await checkpoint.close()
  }
}

interface MergedTensor extends TensorToStream {
  readonly isMerged: boolean
}

function mergedTensor(checkpoint: Checkpoint, tensor: CheckpointTensor, { family, adapter, dtype: asked }: MergeOptions): MergedTensor {
  const { name, shape, file } = tensor
  const module = family.rename(name)?.replace(/\.weight$/, '') ?? null
  const path = name.endsWith('.weight') ? adapter.paths.find((candidate) => candidate === module) : undefined
  const dtype = mergedDtype(tensor.dtype, asked)
  // Masks and counters stay as they are, and so does a float tensor that nothing changes.
  if (dtype === null || (path === undefined && dtype === tensor.dtype)) {
    return { ...tensor, isMerged: false, pieces: () => checkpoint.pieces(name) }
  }
  async function* pieces(): AsyncGenerator<Uint8Array> {
    const product: LowRank | null =
      path === undefined ? null : lowRankOf(adapter.tensors, path, ofModule(adapter.scale, path), family.fanInFanOut)
    let start = 0
    for await (const bytes of checkpoint.pieces(name)) {
      const values = toFloat32({ name, dtype: tensor.dtype, bytes }, { name: file, code: 'MODEL_CORRUPT' })
      if (product !== null) addLowRank(values, start, product)
      refuseUnwritable(values, name, dtype!)
      start += values.length
      yield fromFloat32(values, dtype!)
    }
  }
  return { name, dtype, shape, bytes: elements(shape) * DTYPE_BYTES[dtype], isMerged: path !== undefined, pieces }
}

/** The type that a tensor is written in; null for what is no float. */
function mergedDtype(dtype: string, asked: MergedDtype | null): MergedDtype | null {
  if (dtype === 'F64') return asked ?? 'F32'
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' ? (asked ?? dtype) : null
}

function refuseUnwritable(values: Float32Array, name: string, dtype: MergedDtype): void {
  if (!values.every((value) => Number.isFinite(value)))
    throw new UserError({
      code: 'ADAPTER_CORRUPT',
      what: `the merged tensor ${name} is of no use`,
      why: 'it would hold what is no finite number, so the adapter or the model does, or their sum is too large for float32',
      fix: 'use an adapter whose training did not diverge',
    })
  if (dtype === 'F16' && values.some((value) => Math.abs(value) >= F16_LIMIT))
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `the merged tensor ${name} cannot be written in F16`,
      why: 'it has values above 65504, the largest that F16 can hold',
      fix: 'add --dtype bf16 or --dtype f32',
    })
}

async function* counted({ pieces }: TensorToStream, onEnd: () => void): AsyncGenerator<Uint8Array> {
  yield* pieces()
  onEnd()
}

async function writeIndex(folder: string, streams: readonly { file: string; stream: MergedTensor }[]): Promise<void> {
  // A single file of that name is found without an index.
  if (streams.every(({ file }) => file === 'model.safetensors')) return
  const weightMap = Object.fromEntries(streams.map(({ file, stream }) => [stream.name, file]))
  const totalBytes = streams.reduce((sum, { stream }) => sum + stream.bytes, 0)
  await writeFile(join(folder, INDEX), `${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map: weightMap }, null, 2)}\n`)
}

/** transformers loads weights in the type that config.json names, so it is to name the one that they have. */
async function writeConfig(folder: string, { folder: base, config, tensors }: Checkpoint, dtype: MergedDtype | null): Promise<void> {
  const written = dtype ?? ([...tensors.values()].some((tensor) => tensor.dtype === 'F64') ? 'F32' : null)
  const named = ['dtype', 'torch_dtype'].filter((key) => Object.hasOwn(config as object, key))
  if (written === null || named.length === 0) return copyFile(join(base, 'config.json'), join(folder, 'config.json'))
  const changes = Object.fromEntries(named.map((key) => [key, TORCH_DTYPES[written]]))
  await writeFile(join(folder, 'config.json'), `${JSON.stringify({ ...(config as object), ...changes }, null, 2)}\n`)
}

async function copyCompanions(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (COMPANIONS.test(name) && (await stat(join(from, name))).isFile()) await copyFile(join(from, name), join(to, name))
  }
}
