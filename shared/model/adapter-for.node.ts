/**
 * @file The adapter of a PEFT folder, for a model that is there.
 */
import { UserError } from '../errors.js'
import type { NamedTensors } from '../tensor.js'
import { scalesOf, type LoraConfig } from './adapter.js'
import type { LinearModule } from './families/family.js'
import type { HubAccess } from './hub/snapshot.node.js'
import type { LoadedModel } from './loaded.js'
import { isNamed, lastNames, selectedModules, unmatchedKeys } from './module-selection.js'
import { readPeftAdapter, type PeftAdapter } from './peft.node.js'
import type { LoraSetting } from './stage.js'

/** What a command applies to a model. */
export interface ModelAdapter {
  readonly lora: LoraSetting
  readonly tensors: NamedTensors
  /** What to tell a person of it. */
  readonly warnings: readonly string[]
}

/**
 * @param folder of a PEFT adapter, or its hub id; null: none.
 * @throws UserError as readAdapterOf.
 */
export async function adapterFor(model: Pick<LoadedModel, 'definition'>, folder: string | null, hub?: HubAccess): Promise<ModelAdapter> {
  if (folder === null) return { lora: { paths: [], scale: 1, dropout: 0 }, tensors: new Map(), warnings: [] }
  const { lora, tensors, paths, warnings } = await readAdapterOf(model, folder, hub)
  return { lora: { paths, scale: scalesOf(lora, paths), dropout: 0 }, tensors, warnings }
}

/** An adapter that fits a model. */
export interface FittingAdapter extends PeftAdapter {
  /** Of the modules that it adapts. */
  readonly paths: readonly string[]
  /** What its config says to no effect. */
  readonly warnings: readonly string[]
}

/**
 * An adapter that fits the model.
 * @throws UserError ADAPTER_MISMATCH if it was made for another model, and whatever readPeftAdapter throws.
 */
export async function readAdapterOf(
  { definition: { family, config } }: Pick<LoadedModel, 'definition'>,
  folder: string,
  hub?: HubAccess,
): Promise<FittingAdapter> {
  const linears = family.linears(config)
  const modulesOf = (lora: LoraConfig): LinearModule[] => {
    const modules = selectedModules(linears, lora)
    if (modules.length === 0) throw otherModel(folder, lora, linears)
    return modules
  }
  const adapter = await readPeftAdapter(folder, modulesOf, hub)
  const paths = modulesOf(adapter.lora).map(({ path }) => path)
  return { ...adapter, paths, warnings: idleParts(adapter.lora, linears, paths).map((idle) => `the adapter of ${folder} ${idle}`) }
}

/** Names and patterns that PEFT passes over without a word. */
function idleParts(lora: LoraConfig, linears: readonly LinearModule[], paths: readonly string[]): string[] {
  const isIdle = (name: string): boolean => !linears.some(({ path }) => isNamed(path, name))
  const names = (key: string, targets: readonly string[] | string): string[] =>
    (typeof targets === 'string' ? [] : targets.filter(isIdle)).map(
      (name) => `has ${name} in ${key}, which is no linear layer of the model`,
    )
  return [
    ...names('target_modules', lora.targetModules),
    ...names('exclude_modules', lora.excludeModules),
    ...unmatchedKeys(paths, lora.rankPattern).map((key) => `has ${key} in rank_pattern, which matches none of its modules`),
    ...unmatchedKeys(paths, lora.alphaPattern).map((key) => `has ${key} in alpha_pattern, which matches none of its modules`),
  ]
}

function otherModel(folder: string, { targetModules }: LoraConfig, linears: readonly LinearModule[]): UserError {
  const said = typeof targetModules === 'string' ? `the pattern ${targetModules}` : targetModules.join(', ')
  return new UserError({
    code: 'ADAPTER_MISMATCH',
    what: `the adapter of ${folder} does not fit the model`,
    why: `it adapts linear layers that the model does not have: ${said}; those of the model are called ${lastNames(linears).join(', ')}`,
    fix: 'use the base model that the adapter was trained with',
  })
}
