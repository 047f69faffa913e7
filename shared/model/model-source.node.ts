/**
 * @file From what a person calls a model to a folder on this machine: a folder as it is, a hub id by way of the Hugging Face cache.
 */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { UserError } from '../errors.js'
import { INDEX, MAX_INDEX_BYTES, PICKLED, WEIGHTS, pickledWeights, weightMapOf } from './weight-files.node.js'
import { hubIdProblem, isPath } from './hub/id.js'
import { fetchPart, type GroupOf } from './hub/part.node.js'
import { openSnapshot, type HubAccess, type HubSnapshot } from './hub/snapshot.node.js'
import { requiredJson } from './json-file.node.js'
import { publicModelName } from './model-name.js'

/** All that a tokenizer may consist of, and what is not there is not fetched. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja']

/** A model that was found, of which no weights need to be here yet. */
export interface ModelSource {
  /** A hub id or a folder's name; never a path. */
  readonly name: string
  /** Commit of a hub model, where it is known. */
  readonly revision: string | null
  /** Holds config.json, if there is one, and generation_config.json. Absolute. */
  readonly folder: string
  /**
   * The folder of a checkpoint that holds the wanted groups of tensors at least.
   *
   * @param groupOf by a tensor's name in its file; null for what no graph uses
   * @param isWanted null: all groups
   */
  weights(groupOf: GroupOf, isWanted: ((group: string) => boolean) | null): Promise<string>
  /** The folder of its tokenizer. */
  tokenizer(): Promise<string>
}

/**
 * Finds a model. Where there is a folder of that name, it is that folder, and no host is asked.
 *
 * @throws UserError MODEL_NOT_FOUND for what is neither a folder nor a hub id; CONFIG_VALUE for a revision of a folder; and what the hub says:
 *   MODEL_ACCESS_DENIED, HUB_UNREACHABLE, HUB_FAILED, TRANSFER_CORRUPT, CACHE_UNWRITABLE.
 */
export async function findModel(name: string, revision: string, access: HubAccess = {}): Promise<ModelSource> {
  if (!(await isOnHub(name))) return folderSource(name, revision)
  const snapshot = await openSnapshot(name, revision, access)
  await snapshot.need('config.json')
  await snapshot.find('generation_config.json')
  return {
    name,
    revision: snapshot.commit,
    folder: snapshot.folder,
    async weights(groupOf, isWanted) {
      if (isWanted !== null && !(await snapshot.isHere(WEIGHTS))) {
        const part = await fetchPart(snapshot, { groupOf, isWanted, signal: access.signal })
        if (part !== null) return part
      }
      await fetchWeights(snapshot, (tensor) => {
        const group = groupOf(tensor)
        return group !== null && (isWanted === null || isWanted(group))
      })
      return snapshot.folder
    },
    async tokenizer() {
      for (const file of TOKENIZER_FILES) await snapshot.find(file)
      return snapshot.folder
    },
  }
}

/**
 * The folder of an adapter: as it is, or of the files of a hub id.
 * @throws UserError ADAPTER_NOT_FOUND for an id that is none; what else the hub says, as findModel. What can only be a path is left to its reader.
 */
export async function findAdapter(name: string, access: HubAccess = {}): Promise<string> {
  if ((await stat(resolve(name)).catch(() => null)) !== null || isPath(name) || hubIdProblem(name) !== null) return name
  try {
    const snapshot = await openSnapshot(name, 'main', access)
    await snapshot.need('adapter_config.json')
    await snapshot.find('adapter_model.safetensors')
    return snapshot.folder
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'MODEL_NOT_FOUND') throw error
    const what = error.what.replace('no model', 'no adapter')
    throw new UserError({ ...error.report(), code: 'ADAPTER_NOT_FOUND', what }, { cause: error })
  }
}

/**
 * Whether a name is that of a model on the hub. A folder wins over an id of the same name.
 * @throws UserError MODEL_NOT_FOUND for what is neither.
 */
export async function isOnHub(name: string): Promise<boolean> {
  // What can only be a path, and is none, is told by whoever opens it.
  if (isPath(name) || (await stat(resolve(name)).catch(() => null)) !== null) return false
  const problem = hubIdProblem(name)
  if (problem === null) return true
  throw new UserError({
    code: 'MODEL_NOT_FOUND',
    what: `there is no model ${name}`,
    why: `the folder ${resolve(name)} does not exist, and it is no id of a model on the hub: ${problem}`,
    fix: 'give a folder that holds config.json and model.safetensors, or the id of a model on the hub, such as org/name',
  })
}

function folderSource(name: string, revision: string): ModelSource {
  const folder = resolve(name)
  const { baseModel, revision: commit } = publicModelName(folder)
  if (revision !== 'main' && revision !== commit)
    throw new UserError({
      code: 'CONFIG_VALUE',
      what: `the model ${name} has no revision ${revision}`,
      why: `it is the folder ${folder}, and only a model on the hub has revisions`,
      fix: 'leave out model.revision, or name the folder of that revision',
    })
  return { name: baseModel, revision: commit, folder, weights: async () => folder, tokenizer: async () => folder }
}

/** The files that hold wanted tensors, as a folder of transformers has them: one file, or an index and shards. */
async function fetchWeights(snapshot: HubSnapshot, isWanted: (tensor: string) => boolean): Promise<void> {
  if ((await snapshot.find(WEIGHTS)) !== null) return
  const index = await snapshot.find(INDEX)
  if (index === null) {
    const pickled = [...(await snapshot.list()).keys()].find((name) => PICKLED.test(name))
    if (pickled !== undefined) throw pickledWeights(snapshot.id, pickled)
    await snapshot.need(WEIGHTS)
    return
  }
  const weightMap = weightMapOf(await requiredJson(index, MAX_INDEX_BYTES, 'MODEL_NOT_FOUND', 'MODEL_CORRUPT'))
  const shards = new Set([...weightMap].flatMap(([tensor, file]) => (isWanted(tensor) ? [file] : [])))
  for (const shard of shards) await snapshot.need(shard)
}
