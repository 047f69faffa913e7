/**
 * @file Opens a model as this program uses it: family, configuration, digest, tokenizer, and the prepared weights of some blocks.
 */
import { join } from 'node:path'
import type { Precision } from '../backend/weights.js'
import { UserError } from '../errors.js'
import { packageRoot } from '../version.node.js'
import type { ModelCard } from '../protocol/messages.js'
import { openCheckpoint, readConfig, renameTensors, type Checkpoint } from './checkpoint.node.js'
import { modelDigest, type DigestedTensor } from './digest.js'
import { digestedTensors } from './digest.node.js'
import type { LoadedModel } from './loaded.js'
import { fileOf, type Family } from './families/family.js'
import { familyOf } from './families/index.js'
import type { ModelDefinition } from './graphs.js'
import type { HubAccess } from './hub/snapshot.node.js'
import { findModel, type ModelSource } from './model-source.node.js'
import type { PreparedWeights } from './prepared-files.node.js'
import { checkpointNumbers, preparationOf, prepareWeights } from './prepared.node.js'
import { loadTokenizer } from './tokenizer.node.js'
import type { Tokenizer } from './tokenizer.js'

/** What the shipped model is called in public files. */
const SHIPPED_NAME = 'cutlayer-shipped'

export interface WeightOptions {
  readonly precision?: Precision
  readonly signal?: AbortSignal | undefined
}

/** What is known of a model without its weights. */
export interface ModelOutline extends Omit<LoadedModel, 'digest'> {
  /** Commit of a hub model, where it is known. */
  readonly revision: string | null
  tokenizer(): Promise<Tokenizer>
}

export interface ModelFolder extends ModelOutline, LoadedModel {
  /** Absolute; holds config.json and all weights that were asked for. */
  readonly folder: string
  /** Its tensors as they are stored: what the digest is made of. */
  readonly sources: readonly DigestedTensor[]
  /** Weights by name, of the files that hold these; others are not read. In float32 unless another precision is asked for. */
  weights(names: Iterable<string>, options?: WeightOptions): Promise<PreparedWeights>
}

/** The part of a model that one side of a cut holds. */
export interface ModelShare {
  /** Weights that will be asked for. Only the groups that hold them are downloaded and read. */
  readonly names: (definition: ModelDefinition) => Iterable<string>
  /** What the other side says of the whole model: its digest is this model's too if the share's tensors are those of the card. */
  readonly card: Pick<ModelCard, 'digest' | 'tensors'>
}

export interface OpenOptions {
  /** Branch, tag or commit of a hub id. */
  readonly revision?: string | undefined
  readonly share?: ModelShare
  readonly hub?: HubAccess
}

/**
 * @param nameOrId a folder, or a hub id; null: the model that is shipped with cutlayer.
 * @throws UserError MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, TENSOR_MISSING, TENSOR_SHAPE, and what findModel throws.
 */
export async function openModel(nameOrId: string | null, { revision = 'main', share, hub }: OpenOptions = {}): Promise<ModelFolder> {
  const source = await findModel(nameOrId ?? shippedModelFolder(), revision, hub)
  const outline = await outlineOf(source, nameOrId)
  const { family, config } = outline.definition
  const wanted = share && groupsOfShare(share, outline.definition)
  const folder = await source.weights((name) => groupInFile(family, name), wanted ? (group) => wanted.has(`${group}.bin`) : null)
  const shapes = new Map([...family.tensors(config)].filter(([name]) => wanted?.has(fileOf(family, name)) ?? true))
  const open = async (): Promise<{ raw: Checkpoint; used: Checkpoint }> => {
    const raw = await openCheckpoint(folder, (name) => {
      const group = groupInFile(family, name)
      return !wanted || (group !== null && wanted.has(`${group}.bin`))
    })
    try {
      return { raw, used: usedTensors(raw, family, shapes) }
    } catch (error) {
      await raw.close()
      throw error
    }
  }
  // Whoever has the whole model hands out its folder, and that is to be complete.
  if (!share) await source.tokenizer()
  const { raw, used } = await open()
  try {
    const sources = await digestedTensors(used)
    const digest = await modelDigest(sources)
    const isOfCard = share && [...digest.tensors].every(([name, own]) => share.card.tensors[name] === own)
    const whole = isOfCard ? { model: share.card.digest, tensors: new Map(Object.entries(share.card.tensors)) } : digest
    return {
      ...outline,
      digest: whole,
      sources,
      folder: raw.folder,
      async weights(names, { precision = 'fp32', signal } = {}) {
        // Opened again, so that a model that is only looked at holds no file open.
        const again = await open()
        try {
          const preparation = preparationOf(outline.definition, whole.model, precision)
          return await prepareWeights({ ...preparation, source: checkpointNumbers(again.used, whole), names, signal })
        } finally {
          await again.raw.close()
        }
      },
    }
  } finally {
    await raw.close()
  }
}

/**
 * A model's configuration and tokenizer; of a hub id only those are downloaded. Throws as openModel, but for what is wrong with weights.
 */
export async function openOutline(
  nameOrId: string | null,
  { revision = 'main', hub }: Omit<OpenOptions, 'share'> = {},
): Promise<ModelOutline> {
  return outlineOf(await findModel(nameOrId ?? shippedModelFolder(), revision, hub), nameOrId)
}

async function outlineOf(source: ModelSource, nameOrId: string | null): Promise<ModelOutline> {
  const raw = await readConfig(source.folder, nameOrId ?? source.folder)
  const family = familyOf(raw)
  const config = family.parse(raw)
  return {
    definition: { family, config },
    architecture: family.architecture(config),
    name: nameOrId === null ? SHIPPED_NAME : source.name,
    revision: source.revision,
    parameters: [...family.tensors(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
    tokenizer: async () => loadTokenizer(await source.tokenizer()),
  }
}

/** The prepared files that hold a share's weights: each is made of all its tensors, so those are needed too. */
function groupsOfShare({ names }: ModelShare, definition: ModelDefinition): ReadonlySet<string> {
  return new Set([...names(definition)].map((name) => fileOf(definition.family, name)))
}

/** The group of a tensor by its name in a file, as `block-0`; null for one that holds no weight. */
function groupInFile(family: Family, nameInFile: string): string | null {
  const name = family.rename(nameInFile)
  return name === null ? null : fileOf(family, name).replace(/\.bin$/, '')
}

/** Where the shipped model lies, seen from the sources and from the built program. */
export function shippedModelFolder(): string {
  return join(packageRoot(), 'datasets', 'model')
}

/** The checkpoint under the family's names, checked: everything there, in its shape, and nothing that would be ignored. */
function usedTensors(checkpoint: Checkpoint, family: Family, wanted: ReadonlyMap<string, readonly number[]>): Checkpoint {
  const renamed = renameTensors(checkpoint, (name) => {
    const known = family.rename(name)
    // A tied head is sometimes stored as well.
    return known === family.headWeight && !wanted.has(known) ? null : known
  })
  const fail = (code: 'TENSOR_MISSING' | 'TENSOR_SHAPE' | 'MODEL_UNSUPPORTED', why: string): UserError =>
    new UserError({
      code,
      what: `the model in ${checkpoint.folder} cannot be used`,
      why,
      fix: 'check that config.json belongs to these weights, or save the model again with save_pretrained',
    })
  for (const [name, shape] of wanted) {
    const tensor = renamed.tensors.get(name)
    if (!tensor) throw fail('TENSOR_MISSING', `the tensor ${name} is missing`)
    if (tensor.shape.join() !== shape.join())
      throw fail('TENSOR_SHAPE', `the tensor ${name} is [${tensor.shape.join(', ')}], and config.json asks for [${shape.join(', ')}]`)
  }
  const extra = [...renamed.tensors.keys()].find((name) => !wanted.has(name))
  if (extra !== undefined)
    throw fail('MODEL_UNSUPPORTED', `it has a tensor ${extra}, which a ${family.name} of this configuration has no place for`)
  return renamed
}
