/**
 * @file `lora.init_from`: a run that starts from the adapter of a PEFT folder. What the config leaves open (ranks, alphas, target modules, rsLoRA)
 * is as the folder has it; what it says must be what the folder has.
 */
import type { Config } from '../config/schema.js'
import { valueAt, withValueAt, type Mapping } from '../config/paths.js'
import { UserError } from '../errors.js'
import { f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import { readAdapterOf } from './adapter-for.node.js'
import { adapterShapes, loraAName, loraBName, ranksOf, scalesOf, type LoraConfig } from './adapter.js'
import { loraOfRun, type LoadedModel, type RunLora } from './loaded.js'
import { ofModule, selectionAsTargets, unmatchedKeys } from './module-selection.js'
import { readPeftConfig } from './peft.node.js'

/** Config keys that say what an adapter computes, and where a PEFT folder says it. */
const SAID_BY_BOTH = [
  ['r', ({ r }: LoraConfig) => r],
  ['lora_alpha', ({ alpha }: LoraConfig) => alpha],
  ['use_rslora', ({ useRslora }: LoraConfig) => useRslora],
] as const

/** As these, but only the model can tell whether what both say is the same. */
const FILLED = [
  ['target_modules', selectionAsTargets],
  ['rank_pattern', ({ rankPattern }: LoraConfig) => rankPattern],
  ['alpha_pattern', ({ alphaPattern }: LoraConfig) => alphaPattern],
] as const

/**
 * A config as its file has it, with what it leaves open filled in from the folder that `lora.init_from` names; without one, as it is.
 *
 * Whether target modules and patterns that it names are the folder's only the model can tell: see startAdapter.
 * @param groups known keys only, values unread
 * @throws UserError ADAPTER_NOT_FOUND, ADAPTER_CORRUPT, ADAPTER_UNSUPPORTED; CONFIG_VALUE for a value that is not the folder's.
 */
export async function filledFromFolder(groups: Mapping, source: string): Promise<Mapping> {
  const folder = valueAt(groups, 'lora.init_from')
  if (typeof folder !== 'string' || folder === '') return groups
  const { lora } = await readPeftConfig(folder)
  if (lora.alpha <= 0) throw untrainable(folder, `its lora_alpha is ${lora.alpha}, and must be above 0`)
  const [idle] = Object.entries(lora.alphaPattern).filter(([, alpha]) => alpha <= 0)
  if (idle) throw untrainable(folder, `its alpha_pattern has ${idle[1]} for ${idle[0]}, and must be above 0`)
  let filled = groups
  for (const [key, of] of SAID_BY_BOTH) {
    const said = valueAt(groups, `lora.${key}`)
    if (said === undefined || said === null) filled = withValueAt(filled, ['lora', key], of(lora))
    // A value of another type is for the config's own check to refuse.
    else if (typeof said === typeof of(lora) && said !== of(lora)) throw differs(source, key, said, folder, of(lora))
  }
  for (const [key, of] of FILLED) {
    const said = valueAt(groups, `lora.${key}`)
    if (said === undefined || said === null) filled = withValueAt(filled, ['lora', key], of(lora))
  }
  return filled
}

/**
 * The adapter that a run starts from, both sides of the cut, named and ordered as a fresh one; null without `lora.init_from`.
 *
 * @throws UserError as `cutlayer eval --adapter`; TARGET_MATCHES_NOTHING; CONFIG_VALUE for a value that is not the folder's; ADAPTER_CORRUPT for values that are not
 *   finite, ADAPTER_UNSUPPORTED for an adapter that no training would change.
 */
export async function startAdapter(config: Config['lora'], model: Pick<LoadedModel, 'definition'>): Promise<Map<string, F32Tensor> | null> {
  const folder = config.init_from
  if (folder === null) return null
  const { lora: own, tensors, paths } = await readAdapterOf(model, folder)
  const lora = loraOfRun(model, config)
  for (const [key, of] of SAID_BY_BOTH) if (of(lora.config) !== of(own)) throw differs('the config', key, of(lora.config), folder, of(own))
  if (pathsOf(paths) !== pathsOf(lora.setting.paths))
    throw differs('the config', 'target_modules', config.target_modules ?? lora.config.targetModules, folder, own.targetModules)
  const perModule = [
    ['rank_pattern', config.rank_pattern, own.rankPattern, ranksOf(own, paths), lora.ranks],
    ['alpha_pattern', config.alpha_pattern, own.alphaPattern, scalesOf(own, paths), lora.setting.scale],
  ] as const
  for (const [key, said, has, theirs, ours] of perModule)
    if (paths.some((path) => ofModule(theirs, path) !== ofModule(ours, path))) throw differs('the config', key, said, folder, has)
  checkValues(tensors, lora, folder)
  return new Map([...adapterShapes(lora.modules, lora.ranks)].map(([name, shape]) => [name, f32(shape, tensors.get(name)!.data)]))
}

/** What to tell of a config that says something of its adapter to no effect. */
export function unusedLoraKeys(config: Config['lora'], { setting: { paths } }: RunLora): string[] {
  const { init_from: folder, init_lora_weights: init } = config
  const patterns = (['rank_pattern', 'alpha_pattern'] as const).flatMap((key) =>
    unmatchedKeys(paths, config[key]).map((name) => `lora.${key} has ${name}, which matches none of the adapted layers`),
  )
  if (folder === null || init === true) return patterns
  return [`lora.init_lora_weights is ${init}, which has no effect: the adapter starts as it is in ${folder}`, ...patterns]
}

function checkValues(tensors: NamedTensors, { modules }: RunLora, folder: string): void {
  for (const [name, { data }] of tensors)
    if (!data.every(Number.isFinite))
      throw new UserError({
        code: 'ADAPTER_CORRUPT',
        what: `a run cannot start from the adapter of ${folder}`,
        why: `${name} has values that are not finite numbers`,
        fix: 'start from another adapter, or from a checkpoint of it before training diverged',
      })
  // dA is B^T times something, and dB something times A^T: where both are zero, both stay zero.
  const isZero = (name: string): boolean => tensors.get(name)!.data.every((value) => value === 0)
  if (modules.every(({ path }) => isZero(loraAName(path)) && isZero(loraBName(path))))
    throw untrainable(folder, 'A and B are zero in all of it, and so are their gradients, for good')
}

function pathsOf(paths: readonly string[]): string {
  return [...paths].sort().join()
}

function untrainable(folder: string, why: string): UserError {
  return new UserError({
    code: 'ADAPTER_UNSUPPORTED',
    what: `a run cannot start from the adapter of ${folder}`,
    why,
    fix: 'start from another adapter, or leave out lora.init_from to start from a fresh one',
  })
}

function differs(source: string, key: string, said: unknown, folder: string, has: unknown): UserError {
  return new UserError({
    code: 'CONFIG_VALUE',
    what: `${source} has a lora.${key} that is not that of the adapter it starts from`,
    why: `it says ${JSON.stringify(said)}, and the adapter of ${folder} has ${JSON.stringify(has)}`,
    fix: `leave out lora.${key}, which is then the adapter's, or lora.init_from`,
  })
}
