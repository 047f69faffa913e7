/**
 * @file Adapter folders in Hugging Face PEFT form: adapter_config.json, adapter_model.safetensors, README.md.
 *
 * Source: https://huggingface.co/docs/peft, "PEFT checkpoint format".
 */
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { UserError, unreachable } from '../errors.js'
import { f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import { checkAdapter, fromPeftKey, listed, parseLoraName, toPeftKey, type LoraConfig } from './adapter.js'
import { namedAdapters } from './adapter-folders.node.js'
import { removeAtExit, replaceFiles, syncFolder, temporaryPath } from './atomic-file.node.js'
import { fromFloat32, toFloat32, type Source } from './dtype.js'
import type { LinearModule } from './families/family.js'
import type { HubAccess } from './hub/snapshot.node.js'
import { requiredJson } from './json-file.node.js'
import { formatCard, type AdapterCard } from './model-card.js'
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
  checkAdapter(tensors, modules, config.lora.r, folder)
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

async function readWeights(folder: string): Promise<Map<string, F32Tensor>> {
  const file = join(folder, WEIGHTS)
  const source: Source = { name: file, code: 'ADAPTER_CORRUPT' }
  const raw = parseSafetensors(await readWeightsFile(folder, file), source).tensors
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
 * @throws UserError RUN_DIR_UNWRITABLE if the folder cannot be written.
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
  try {
    if (await stat(target).catch(() => null)) return await replaceFiles(target, files)
    const temporary = temporaryPath(target)
    const release = removeAtExit(temporary)
    try {
      await mkdir(temporary, { recursive: true })
      await replaceFiles(temporary, files)
      await rename(temporary, target)
      await syncFolder(dirname(target))
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      throw error
    } finally {
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

function tensorsToWrite(tensors: NamedTensors): Map<string, TensorToWrite> {
  return new Map([...tensors].map(([name, { shape, data }]) => [toPeftKey(name), { dtype: 'F32', shape, bytes: fromFloat32(data, 'F32') }]))
}
