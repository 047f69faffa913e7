/**
 * @file The adapter that a command applies to a model.
 */
import { UserError } from '../shared/errors.js'
import { scaleOf } from '../shared/model/adapter.js'
import type { LoadedModel } from '../shared/model/loaded.js'
import { targetedModules } from '../shared/model/lora.js'
import { readPeftAdapter } from '../shared/model/peft.node.js'
import type { LoraSetting } from '../shared/model/stage.js'
import type { NamedTensors } from '../shared/tensor.js'

export interface ModelAdapter {
  readonly lora: LoraSetting
  readonly tensors: NamedTensors
}

/**
 * @param folder of a PEFT adapter; null: none.
 * @throws UserError ADAPTER_MISMATCH if it was made for another model, and whatever readPeftAdapter throws.
 */
export async function adapterFor({ definition: { family, config } }: LoadedModel, folder: string | null): Promise<ModelAdapter> {
  if (folder === null) return { lora: { paths: [], scale: 1, dropout: 0 }, tensors: new Map() }
  const linears = family.linears(config)
  const { lora, tensors } = await readPeftAdapter(folder, ({ targetModules }) => {
    try {
      return targetedModules(linears, targetModules)
    } catch (error) {
      throw error instanceof UserError && error.code === 'TARGET_MATCHES_NOTHING' ? otherModel(folder, error) : error
    }
  })
  const paths = targetedModules(linears, lora.targetModules).map(({ path }) => path)
  return { lora: { paths, scale: scaleOf(lora), dropout: 0 }, tensors }
}

function otherModel(folder: string, { why }: UserError): UserError {
  return new UserError({
    code: 'ADAPTER_MISMATCH',
    what: `the adapter of ${folder} does not fit the model`,
    why: `it adapts linear layers that the model does not have; ${why}`,
    fix: 'use the base model that the adapter was trained with',
  })
}
