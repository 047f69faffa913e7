/**
 * @file The model of a plan: its config.json is enough, so that a plan can be made before anything is downloaded.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { UserError } from '../../shared/errors.js'
import type { Architecture } from '../../shared/model/families/family.js'
import { familyOf } from '../../shared/model/families/index.js'
import type { ModelDefinition } from '../../shared/model/graphs.js'
import { requiredJson } from '../../shared/model/json-file.node.js'
import { shippedModelFolder } from '../../shared/model/model.node.js'
import { loadTokenizer } from '../../shared/model/tokenizer.node.js'
import type { Tokenizer } from '../../shared/model/tokenizer.js'
import { elements } from '../../shared/tensor.js'

const MAX_CONFIG_BYTES = 16 * 2 ** 20

export interface PlannedModel {
  readonly definition: ModelDefinition
  readonly architecture: Architecture
  readonly name: string
  readonly parameters: number
  /** Names of its tensors. */
  readonly tensors: readonly string[]
  /** null without tokenizer.json. */
  readonly tokenizer: Tokenizer | null
}

/**
 * @param name a folder that has at least config.json; a hub id whose config.json is in the Hugging Face cache; null: the shipped model.
 * @throws UserError MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED.
 */
export async function openPlannedModel(name: string | null, environment: NodeJS.ProcessEnv = process.env): Promise<PlannedModel> {
  const folder = await folderOf(name, environment)
  const json = await requiredJson(join(folder, 'config.json'), MAX_CONFIG_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT')
  const family = familyOf(json)
  const config = family.parse(json)
  const shapes = family.tensors(config)
  return {
    definition: { family, config },
    architecture: family.architecture(config),
    name: name === null ? 'cutlayer-shipped' : isHubId(name) ? name : basename(folder),
    parameters: [...shapes.values()].reduce((sum, shape) => sum + elements(shape), 0),
    tensors: [...shapes.keys()],
    tokenizer: existsSync(join(folder, 'tokenizer.json')) ? await loadTokenizer(folder) : null,
  }
}

async function folderOf(name: string | null, environment: NodeJS.ProcessEnv): Promise<string> {
  if (name === null) return shippedModelFolder()
  if (existsSync(join(name, 'config.json'))) return resolve(name)
  const cached = isHubId(name) ? await cachedFolder(name, environment) : null
  if (cached !== null) return cached
  throw new UserError({
    code: 'MODEL_NOT_FOUND',
    what: `there is no config.json of ${name} here`,
    why: isHubId(name)
      ? `neither a folder ${resolve(name)} nor the Hugging Face cache (${hubCacheFolder(environment)}) has it, and a plan downloads nothing`
      : `${resolve(name)} has none`,
    fix: "put the model's config.json (its weights are not needed for a plan) into a folder, and name that folder as model.model_name_or_path",
  })
}

/** `org/name`, or the bare `name` of an old model. */
function isHubId(name: string): boolean {
  return /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(name) && !existsSync(name)
}

/** Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache */
async function cachedFolder(id: string, environment: NodeJS.ProcessEnv): Promise<string | null> {
  const repository = join(hubCacheFolder(environment), `models--${id.replaceAll('/', '--')}`)
  const commit = await readFile(join(repository, 'refs', 'main'), 'utf8').catch(() => null)
  if (commit === null || !/^[0-9a-f]{40}$/.test(commit.trim())) return null
  const folder = join(repository, 'snapshots', commit.trim())
  return existsSync(join(folder, 'config.json')) ? folder : null
}

function hubCacheFolder({ HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME }: NodeJS.ProcessEnv): string {
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(home, 'hub')
}
