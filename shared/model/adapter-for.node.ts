/**
 * @file The adapter of a PEFT folder, for a model that is there.
 */
import { UserError } from '../errors.js'
import type { NamedTensors } from '../tensor.js'
import { scaleOf, type LoraConfig } from './adapter.js'
import type { HubAccess } from './hub/snapshot.node.js'
import type { LoadedModel } from './loaded.js'
import { targetedModules } from './lora.js'
import { readPeftAdapter, type PeftAdapter } from './peft.node.js'
import type { LoraSetting } from './stage.js'

/** What a command applies to a model. */
export interface ModelAdapter {
  readonly lora: LoraSetting
  readonly tensors: NamedTensors
}

/**
 * @param folder of a PEFT adapter, or its hub id; null: none.
 * @throws UserError as readAdapterOf.
 */
export async function adapterFor(model: Pick<LoadedModel, 'definition'>, folder: string | null, hub?: HubAccess): Promise<ModelAdapter> {
  if (folder === null) return { lora: { paths: [], scale: 1, dropout: 0 }, tensors: new Map() }
  const { lora, tensors, paths } = await readAdapterOf(model, folder, hub)
  return { lora: { paths, scale: scaleOf(lora), dropout: 0 }, tensors }
}

/**
 * An adapter that fits the model, and the paths of the modules that it adapts.
 * @throws UserError ADAPTER_MISMATCH if it was made for another model, and whatever readPeftAdapter throws.
 */
export async function readAdapterOf(
  { definition: { family, config } }: Pick<LoadedModel, 'definition'>,
  folder: string,
  hub?: HubAccess,
): Promise<PeftAdapter & { readonly paths: readonly string[] }> {
  const linears = family.linears(config)
  const modulesOf = ({ targetModules }: LoraConfig) => {
    try {
      return targetedModules(linears, targetModules)
    } catch (error) {
      throw error instanceof UserError && error.code === 'TARGET_MATCHES_NOTHING' ? otherModel(folder, error) : error
    }
  }
  const adapter = await readPeftAdapter(folder, modulesOf, hub)
  return { ...adapter, paths: modulesOf(adapter.lora).map(({ path }) => path) }
}

function otherModel(folder: string, { why }: UserError): UserError {
  return new UserError({
    code: 'ADAPTER_MISMATCH',
    what: `the adapter of ${folder} does not fit the model`,
    why: `it adapts linear layers that the model does not have; ${why}`,
    fix: 'use the base model that the adapter was trained with',
  })
}
