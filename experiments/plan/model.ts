/**
 * @file The model of a plan: its config.json is enough, so that a plan can be made before weights are downloaded.
 */
import { UserError } from '../../shared/errors.js'
import type { Architecture } from '../../shared/model/families/family.js'
import type { ModelDefinition } from '../../shared/model/graphs.js'
import type { HubAccess } from '../../shared/model/hub/snapshot.node.js'
import { openOutline, type ModelOutline } from '../../shared/model/model.node.js'
import type { Tokenizer } from '../../shared/model/tokenizer.js'

export interface PlannedModel {
  readonly definition: ModelDefinition
  readonly architecture: Architecture
  readonly name: string
  readonly parameters: number
  /** Names of its tensors. */
  readonly tensors: readonly string[]
  /** null where there is none, or none can be had. */
  readonly tokenizer: Tokenizer | null
}

/**
 * @param name a folder that has at least config.json, or a hub id, of which config.json and the tokenizer are downloaded; null: the shipped model.
 * @throws UserError as openOutline.
 */
export async function openPlannedModel(name: string | null, options: { revision?: string; hub?: HubAccess } = {}): Promise<PlannedModel> {
  const outline = await openOutline(name, options)
  const { family, config } = outline.definition
  return { ...outline, tensors: [...family.tensors(config).keys()], tokenizer: await tokenizerOf(outline) }
}

/** A plan goes on without one, and says so; only a broken one is an error. */
async function tokenizerOf(model: ModelOutline): Promise<Tokenizer | null> {
  try {
    return await model.tokenizer()
  } catch (error) {
    if (error instanceof UserError && (error.code === 'TOKENIZER_MISSING' || error.code === 'MODEL_NOT_FOUND')) return null
    throw error
  }
}
