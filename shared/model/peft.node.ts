/**
 * @file Adapter folders in Hugging Face PEFT form: adapter_config.json, adapter_model.safetensors, README.md.
 *
 * Source: https://huggingface.co/docs/peft, "PEFT checkpoint format".
 */
import { renameSync } from 'node:fs'
import { readFile, rm, stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { UserError, unreachable } from '../errors.js'
import { f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import { checkAdapter, fromPeftKey, listed, loraAName, loraBName, parseLoraName, ranksOf, toPeftKey, type LoraConfig } from './adapter.js'
import { namedAdapters } from './adapter-folders.node.js'
import { makeTemporaryFolder, removeAtExit, replaceFiles, syncFolder, temporaryPath } from './atomic-file.node.js'
import { fromFloat32, toFloat32, type Source } from './dtype.js'
import type { LinearModule } from './families/family.js'
import type { HubAccess } from './hub/snapshot.node.js'
import { requiredJson } from './json-file.node.js'
import { formatCard, type AdapterCard } from './model-card.js'
import { selectedModules } from './module-selection.js'
import { findAdapter } from './model-source.node.js'
import { formatPeftConfig, parsePeftConfig, type PeftConfig, type PeftConfigToWrite } from './peft-config.js'
import { parseSafetensors, serializeSafetensors, type TensorToWrite } from './safetensors.js'

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'
const CARD = 'README.md'
const MAX_CONFIG_BYTES = 16 * 2 ** 20
const MAX_WEIGHTS_BYTES = 2 ** 31

export interface PeftAdapter extends PeftConfig {
  /** By name in memory: without PEFT's prefix. */
  readonly tensors: Map<string, F32Tensor>
}

/**
 * Reads an adapter; the weights may be F16, BF16, F32 or F64.
 *
 * @param nameOrId a PEFT folder, or a hub id
 * @param modulesOf the base model's modules that the adapter's targets select; all of them, and only they, must have A and B.
 * @throws UserError ADAPTER_NOT_FOUND, ADAPTER_CORRUPT, ADAPTER_UNSUPPORTED naming what is not supported, ADAPTER_MISMATCH naming tensors,
 *   whatever `modulesOf` throws, and what findAdapter throws.
 */
export async function readPeftAdapter(
  nameOrId: string,
  modulesOf: (config: LoraConfig) => readonly LinearModule[],
  hub?: HubAccess,
): Promise<PeftAdapter> {
  const folder = await findAdapter(nameOrId, hub)
  const config = await readPeftConfig(folder)
  const modules = modulesOf(config.lora)
  const tensors = await readWeights(folder)
  const ranks = ranksOf(
    config.lora,
    modules.map(({ path }) => path),
  )
  checkAdapter(tensors, modules, ranks, folder)
  return { ...config, tensors }
}

/** What an adapter's config says. @throws UserError ADAPTER_NOT_FOUND, ADAPTER_CORRUPT, ADAPTER_UNSUPPORTED, and what findAdapter throws. */
export async function readPeftConfig(nameOrId: string, hub?: HubAccess): Promise<PeftConfig> {
  const folder = await findAdapter(nameOrId, hub)
  const several = namedAdapters(folder)
  if (several.length > 0) throw oneOfSeveral(folder, several)
  const file = join(folder, CONFIG)
  return parsePeftConfig(await requiredJson(file, MAX_CONFIG_BYTES, 'ADAPTER_NOT_FOUND', 'ADAPTER_CORRUPT'), file)
}

function oneOfSeveral(folder: string, names: readonly string[]): UserError {
  return new UserError({
    code: 'ADAPTER_NOT_FOUND',
    what: `${folder} is no adapter`,
    why: `it holds ${names.length === 1 ? 'one' : `${names.length} of them`} in folders inside: ${listed(names)}`,
    fix: `give one of these, such as ${join(folder, names[0]!)}`,
  })
}

/** An adapter's weights alone, by name in memory. @throws as readPeftAdapter, of the file of weights */
export function readPeftWeights(folder: string): Promise<Map<string, F32Tensor>> {
  return readWeights(folder)
}

async function readWeights(folder: string): Promise<Map<string, F32Tensor>> {
  const file = join(folder, WEIGHTS)
  const source: Source = { name: file, code: 'ADAPTER_CORRUPT' }
  const raw = parseSafetensors(await readWeightsFile(folder, file), source).tensors
  for (const key of raw.keys()) refuseByName(key, file)
  const unknown = [...raw.keys()].filter((key) => parseLoraName(fromPeftKey(key) ?? '') === null)
  if (unknown.length > 0) {
    throw new UserError({
      code: 'ADAPTER_MISMATCH',
      what: `${file} holds what is no LoRA weight`,
      why: `unexpected: ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ` and ${unknown.length - 5} more` : ''}`,
      fix: 'use a plain LoRA adapter, whose keys end in lora_A.weight and lora_B.weight',
    })
  }
  return new Map([...raw.values()].map((tensor) => [fromPeftKey(tensor.name)!, f32(tensor.shape, toFloat32(tensor, source))]))
}

/** Tensors of what PEFT can do and cutlayer cannot. Their config may not say it. */
const FOREIGN_TENSORS: readonly (readonly [RegExp, string])[] = [
  [/\.lora_embedding_[AB]$/, 'LoRA on an embedding'],
  [/\.lora_magnitude_vector(\.weight)?$/, 'DoRA'],
  [/\.lora_[AB]\.bias$/, 'lora_bias'],
  [/(^|\.)(lm_head|embed_out)\.lora_[AB]\.weight$/, 'LoRA on the output head'],
]

/** @throws UserError ADAPTER_UNSUPPORTED */
function refuseByName(key: string, file: string): void {
  const foreign = FOREIGN_TENSORS.find(([form]) => form.test(key))
  if (!foreign) return
  throw new UserError({
    code: 'ADAPTER_UNSUPPORTED',
    what: `the adapter of ${file} uses ${foreign[1]}, which cutlayer does not support`,
    why: `it has ${key}`,
    fix: 'use a plain LoRA adapter of linear layers of the blocks',
  })
}

async function readWeightsFile(folder: string, file: string): Promise<Uint8Array> {
  const stats = await stat(file).catch(() => null)
  if (!stats) {
    const isPickled = (await stat(join(folder, 'adapter_model.bin')).catch(() => null)) !== null
    throw isPickled
      ? new UserError({
          code: 'ADAPTER_UNSUPPORTED',
          what: `the adapter in ${folder} cannot be read`,
          why: 'adapter_model.bin is a PyTorch pickle, and only safetensors files are read',
          fix: 'save the adapter again with PEFT, which writes safetensors',
        })
      : new UserError({
          code: 'ADAPTER_NOT_FOUND',
          what: `${file} is missing`,
          why: 'there is no such file',
          fix: 'give a whole adapter folder',
        })
  }
  const refuse = (why: string, cause?: unknown): UserError =>
    new UserError({ code: 'ADAPTER_CORRUPT', what: `${file} cannot be read`, why, fix: 'give a whole adapter folder' }, { cause })
  if (stats.size > MAX_WEIGHTS_BYTES) throw refuse(`it has ${stats.size} bytes, and at most ${MAX_WEIGHTS_BYTES} are accepted`)
  return readFile(file).catch((error: Error) => {
    throw refuse(error.message, error)
  })
}

export interface PeftAdapterToWrite extends PeftConfigToWrite {
  /** By name in memory; written as F32. */
  readonly tensors: NamedTensors
  readonly card: AdapterCard
}

/**
 * Writes an adapter folder, or replaces the adapter in it.
 *
 * A new folder appears whole or not at all. In one that exists each file is replaced in one instant, so at no time is there no adapter, and
 * other files in it stay.
 *
 * @throws UserError RUN_DIR_UNWRITABLE if the folder cannot be written, or does not read back as it was written; ADAPTER_MISMATCH if the
 *   tensors are not those that the config says.
 */
export async function writePeftAdapter(folder: string, adapter: PeftAdapterToWrite): Promise<void> {
  const { baseModel } = adapter
  if (isAbsolute(baseModel) || /^\.|\\|\/.*\//.test(baseModel)) unreachable(`the base model's name ${baseModel} is a path`)
  const files = new Map<string, string | Uint8Array>([
    [WEIGHTS, serializeSafetensors(tensorsToWrite(adapter.tensors), { format: 'pt' })],
    [CONFIG, formatPeftConfig(adapter)],
    [CARD, formatCard(adapter.card, baseModel)],
  ])
  const target = resolve(folder)
  const modules = modulesOf(adapter)
  checkAdapter(
    adapter.tensors,
    modules,
    ranksOf(
      adapter.lora,
      modules.map(({ path }) => path),
    ),
    `the adapter to be written to ${target}`,
  )
  try {
    const isThere = (await stat(target).catch(() => null)) !== null
    const temporary = temporaryPath(isThere ? join(target, WEIGHTS) : target)
    const release = removeAtExit(temporary)
    try {
      await makeTemporaryFolder(temporary)
      await replaceFiles(temporary, files)
      await readBack(temporary, adapter, modules)
      // At once, so that a process that ends meanwhile removes nothing that then gets its place.
      if (isThere) for (const name of files.keys()) renameSync(join(temporary, name), join(target, name))
      else renameSync(temporary, target)
      await syncFolder(isThere ? target : dirname(target))
    } finally {
      await rm(temporary, { recursive: true, force: true })
      release()
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    throw new UserError(
      {
        code: 'RUN_DIR_UNWRITABLE',
        what: `the adapter ${basename(target)} cannot be written to ${dirname(target)}`,
        why: error.message,
        fix: 'make room there, make it writable, or choose another folder',
      },
      { cause: error },
    )
  }
}

/** The modules that the tensors stand on, those of them that the config selects. */
function modulesOf({ lora, tensors }: Pick<PeftAdapterToWrite, 'lora' | 'tensors'>): LinearModule[] {
  const paths = [...new Set([...tensors.keys()].flatMap((name) => parseLoraName(name)?.path ?? []))]
  const linears = paths.map((path) => ({
    path,
    in: tensors.get(loraAName(path))?.shape[1] ?? 0,
    out: tensors.get(loraBName(path))?.shape[0] ?? 0,
  }))
  return selectedModules(linears, lora)
}

/** Reads the folder as anybody would who is given it. @throws UserError RUN_DIR_UNWRITABLE if it does not hold what was to be written. */
async function readBack(folder: string, adapter: PeftAdapterToWrite, modules: readonly LinearModule[]): Promise<void> {
  const read = await readPeftAdapter(folder, () => modules).catch((error: Error) => error)
  const differs =
    read instanceof Error
      ? read.message
      : formatPeftConfig({ ...adapter, lora: read.lora, baseModel: read.baseModel ?? '', revision: read.revision }) !==
          formatPeftConfig(adapter)
        ? `${CONFIG} says something else`
        : [...adapter.tensors].find(([name, { data }]) => !isSameBits(read.tensors.get(name)!.data, data))?.[0]
  if (differs === undefined) return
  throw new UserError({
    code: 'RUN_DIR_UNWRITABLE',
    what: `the adapter that was written to ${dirname(folder)} is not what is read there`,
    why: differs,
    fix: 'check the disk, or choose a folder on another one',
  })
}

/** NaN too is written as it is. */
function isSameBits(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
}

function tensorsToWrite(tensors: NamedTensors): Map<string, TensorToWrite> {
  return new Map([...tensors].map(([name, { shape, data }]) => [toPeftKey(name), { dtype: 'F32', shape, bytes: fromFloat32(data, 'F32') }]))
}
