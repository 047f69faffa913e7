/**
 * @file Which files of a model hold its weights: model.safetensors, or the shards that an index names.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../errors.js'
import { requiredJson } from './json-file.node.js'

export const WEIGHTS = 'model.safetensors'
export const INDEX = 'model.safetensors.index.json'
export const MAX_INDEX_BYTES = 64 * 2 ** 20

/**
 * The weight files of a folder, each with the tensors to take from it; null: all that it holds.
 * @param isWanted by a tensor's name; a shard that holds none such need not be there.
 * @throws UserError MODEL_NOT_FOUND, MODEL_CORRUPT, or MODEL_UNSUPPORTED for weights that are pickled.
 */
export async function listWeightFiles(folder: string, isWanted: (name: string) => boolean): Promise<Map<string, readonly string[] | null>> {
  const present = new Set(await readdir(folder))
  if (present.has(WEIGHTS)) return new Map([[WEIGHTS, null]])
  if (present.has(INDEX))
    return shardsOfIndex(await requiredJson(join(folder, INDEX), MAX_INDEX_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT'), present, isWanted)
  const pickled = [...present].find((name) => PICKLED.test(name))
  if (pickled !== undefined) throw pickledWeights(folder, pickled)
  throw new UserError({
    code: 'MODEL_NOT_FOUND',
    what: `there are no weights in ${folder}`,
    why: `it has neither ${WEIGHTS} nor ${INDEX}`,
    fix: 'give the folder of a complete model',
  })
}

/** Weights that torch.save wrote. */
export const PICKLED = /^pytorch_model.*\.bin(\.index\.json)?$/

/** @param where a folder or a model on the hub */
export function pickledWeights(where: string, file: string): UserError {
  return new UserError({
    code: 'MODEL_UNSUPPORTED',
    what: `the weights in ${where} cannot be read`,
    why: `${file} is a PyTorch pickle, and only safetensors files are read`,
    fix: 'convert to safetensors: load the model with transformers and call save_pretrained',
  })
}

/** The shard of each tensor, as an index file says. @throws UserError MODEL_CORRUPT */
export function weightMapOf(index: Record<string, unknown>): Map<string, string> {
  const weightMap = index.weight_map
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap)) throw corruptFile(INDEX, 'it has no weight_map')
  const entries = (Object.entries(weightMap) as [string, unknown][]).map(([name, file]): [string, string] => {
    // A name, never a path: an index must not reach out of its folder.
    if (typeof file !== 'string' || !/^[\w-][\w.-]*\.safetensors$/.test(file)) {
      throw corruptFile(INDEX, `it puts ${name} in ${JSON.stringify(file)}, which is not the name of a safetensors file in the same folder`)
    }
    return [name, file]
  })
  return new Map(entries)
}

function shardsOfIndex(
  index: Record<string, unknown>,
  present: ReadonlySet<string>,
  isWanted: (name: string) => boolean,
): Map<string, string[]> {
  const shards = new Map<string, string[]>()
  for (const [name, file] of weightMapOf(index)) {
    if (!isWanted(name)) continue
    if (!present.has(file)) {
      throw new UserError({
        code: 'MODEL_NOT_FOUND',
        what: `the model's file ${file} is missing`,
        why: `${INDEX} puts ${name} in it`,
        fix: 'fetch the missing file',
      })
    }
    const names = shards.get(file)
    if (names) names.push(name)
    else shards.set(file, [name])
  }
  return shards
}

/** A file of the model that does not say what it has to. */
export function corruptFile(file: string, why: string): UserError {
  return new UserError({ code: 'MODEL_CORRUPT', what: `the model cannot be read from ${file}`, why, fix: 'fetch or write the file again' })
}
