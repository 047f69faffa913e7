/**
 * @file Opens a model folder as this program uses it: family, configuration, digest, tokenizer, and the prepared weights of some blocks.
 */
import { join } from 'node:path'
import type { WeightStore } from '../backend/weights.js'
import { UserError } from '../errors.js'
import { packageRoot } from '../version.node.js'
import { openCheckpoint, renameTensors, type Checkpoint } from './checkpoint.node.js'
import { digestCheckpoint } from './digest.node.js'
import type { LoadedModel } from './loaded.js'
import { fileOf, type Family } from './families/family.js'
import { familyOf } from './families/index.js'
import { publicModelName } from './model-name.js'
import { prepareWeights } from './prepared.node.js'
import { loadTokenizer } from './tokenizer.node.js'
import type { Tokenizer } from './tokenizer.js'

/** What the shipped model is called in public files. */
const SHIPPED_NAME = 'cutlayer-shipped'

export interface ModelFolder extends LoadedModel {
  /** Absolute. */
  readonly folder: string
  /** Commit of a hub model, where its folder tells it. */
  readonly revision: string | null
  /** Weights by name, of the files that hold these; others are not read. */
  weights(names: Iterable<string>, signal?: AbortSignal): Promise<WeightStore>
  tokenizer(): Promise<Tokenizer>
}

/**
 * @param nameOrFolder null: the model that is shipped with cutlayer.
 * @throws UserError MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, TENSOR_MISSING, TENSOR_SHAPE.
 */
export async function openModel(nameOrFolder: string | null): Promise<ModelFolder> {
  const raw = await openCheckpoint(nameOrFolder ?? shippedModelFolder())
  try {
    const family = familyOf(raw.config)
    const config = family.parse(raw.config)
    const checkpoint = usedTensors(raw, family, family.tensors(config))
    const digest = await digestCheckpoint(checkpoint)
    return {
      definition: { family, config },
      architecture: family.architecture(config),
      name: nameOrFolder === null ? SHIPPED_NAME : publicModelName(raw.folder).baseModel,
      revision: publicModelName(raw.folder).revision,
      digest,
      parameters: [...family.tensors(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
      folder: raw.folder,
      async weights(names, signal) {
        // Opened again, so that a model that is only looked at holds no file open.
        const again = await openCheckpoint(raw.folder)
        try {
          const tensors = usedTensors(again, family, family.tensors(config))
          return await prepareWeights({ checkpoint: tensors, digest, names, fileOf: (name) => fileOf(family, name), signal })
        } finally {
          await again.close()
        }
      },
      tokenizer: () => loadTokenizer(raw.folder),
    }
  } finally {
    await raw.close()
  }
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
