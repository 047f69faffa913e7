/**
 * @file Opens a model folder as this program uses it: family, configuration, digest, tokenizer, and the prepared weights of some blocks.
 */
import { basename, dirname, join } from 'node:path'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { WeightStore } from '../backend/weights.js'
import { UserError } from '../errors.js'
import { openCheckpoint, renameTensors, type Checkpoint } from './checkpoint.node.js'
import { digestCheckpoint } from './digest.node.js'
import type { LoadedModel } from './loaded.js'
import { fileOf, type Family } from './families/family.js'
import { familyOf } from './families/index.js'
import { prepareWeights } from './prepared.node.js'
import { loadTokenizer } from './tokenizer.node.js'
import type { Tokenizer } from './tokenizer.js'

export interface ModelFolder extends LoadedModel {
  /** Absolute. */
  readonly folder: string
  /** Weights by name, of the files that hold these; others are not read. */
  weights(names: Iterable<string>): Promise<WeightStore>
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
      name: nameOf(raw, nameOrFolder),
      digest,
      parameters: [...family.tensors(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
      folder: raw.folder,
      async weights(names) {
        // Opened again, so that a model that is only looked at holds no file open.
        const again = await openCheckpoint(raw.folder)
        try {
          const tensors = usedTensors(again, family, family.tensors(config))
          return await prepareWeights({ checkpoint: tensors, digest, names, fileOf: (name) => fileOf(family, name) })
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
  let root = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(root, 'package.json')) && dirname(root) !== root) root = dirname(root)
  return join(root, 'datasets', 'model')
}

/** The checkpoint under the family's names, checked: everything there, in its shape, and nothing that would be ignored. */
function usedTensors(checkpoint: Checkpoint, family: Family, wanted: ReadonlyMap<string, readonly number[]>): Checkpoint {
  const renamed = renameTensors(checkpoint, (name) => {
    const known = family.rename(name)
    // A tied head is sometimes stored as well.
    return known === 'lm_head.weight' && !wanted.has(known) ? null : known
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

/** A hub id if the checkpoint knows one, else the folder's own name; never a path. */
function nameOf(checkpoint: Checkpoint, nameOrFolder: string | null): string {
  const config = checkpoint.config as { readonly _name_or_path?: unknown }
  const given = config._name_or_path
  if (typeof given === 'string' && /^[\w.-]+(\/[\w.-]+)?$/.test(given)) return given
  return nameOrFolder === null ? 'cutlayer-shipped' : basename(checkpoint.folder)
}
