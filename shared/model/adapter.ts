/**
 * @file LoRA adapters in memory: their settings, the names of their tensors, how they start, and their two sides of a cut.
 *
 * In memory a key is `<module path>.lora_A.weight` f32 [r, in] or `<module path>.lora_B.weight` f32 [out, r]; PEFT writes `base_model.model.` before it.
 */
import { UserError } from '../errors.js'
import { derive } from '../random.js'
import { elements, f32, type F32Tensor, type NamedTensors } from '../tensor.js'
import type { LinearModule } from './families/family.js'
import { ofModule, perModule, type ModulePatterns, type ModuleSelection, type PerModule } from './module-selection.js'

/** What an adapter computes: y + scale * B (A x). Numbers as PEFT has them. */
export interface LoraConfig extends ModuleSelection {
  readonly r: number
  readonly alpha: number
  readonly dropout: number
  /** Ranks of modules that have another than `r`. */
  readonly rankPattern: ModulePatterns
  /** As rankPattern, of `alpha`. */
  readonly alphaPattern: ModulePatterns
  /** The scale is alpha / sqrt(r) in place of alpha / r. */
  readonly useRslora: boolean
  /** Whether the base weight is stored [in, out], as GPT-2's Conv1D does. A and B are not affected. */
  readonly fanInFanOut: boolean
}

/**
 * The factor before B A.
 *
 * Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; with rsLoRA Kalajdzievski 2023, arXiv:2312.03732.
 */
export function scaleOf(config: Pick<LoraConfig, 'r' | 'alpha' | 'useRslora'>): number {
  return config.alpha / (config.useRslora ? Math.sqrt(config.r) : config.r)
}

/** The rank of each of these modules. */
export function ranksOf({ r, rankPattern }: Pick<LoraConfig, 'r' | 'rankPattern'>, paths: readonly string[]): PerModule {
  return perModule(paths, r, rankPattern)
}

/** The factor of each of these modules, as `scaleOf` has it of its own rank and alpha. */
export function scalesOf(config: LoraConfig, paths: readonly string[]): PerModule {
  const { useRslora } = config
  const [ranks, alphas] = [ranksOf(config, paths), perModule(paths, config.alpha, config.alphaPattern)]
  if (typeof ranks === 'number' && typeof alphas === 'number') return scaleOf({ r: ranks, alpha: alphas, useRslora })
  return new Map(paths.map((path) => [path, scaleOf({ r: ofModule(ranks, path), alpha: ofModule(alphas, path), useRslora })]))
}

const PEFT_PREFIX = 'base_model.model.'
const SUFFIX_A = '.lora_A.weight'
const SUFFIX_B = '.lora_B.weight'

/** Name of a module's A in memory: PEFT's key without its prefix and adapter name. */
export function loraAName(modulePath: string): string {
  return modulePath + SUFFIX_A
}

/** As loraAName, of B. */
export function loraBName(modulePath: string): string {
  return modulePath + SUFFIX_B
}

/** The module that a tensor belongs to, and which of the two it is; null if the name is no LoRA tensor's. */
export function parseLoraName(name: string): { path: string; matrix: 'A' | 'B' } | null {
  for (const [suffix, matrix] of [[SUFFIX_A, 'A'] as const, [SUFFIX_B, 'B'] as const]) {
    if (name.endsWith(suffix) && name.length > suffix.length) return { path: name.slice(0, -suffix.length), matrix }
  }
  return null
}

export function toPeftKey(name: string): string {
  return PEFT_PREFIX + name
}

/** The name in memory, or null if PEFT's prefix is missing. */
export function fromPeftKey(key: string): string | null {
  return key.startsWith(PEFT_PREFIX) ? key.slice(PEFT_PREFIX.length) : null
}

/** Name and shape of every tensor of an adapter on those modules, of these ranks, in their order, A before B. */
export function adapterShapes(modules: readonly LinearModule[], ranks: PerModule): Map<string, readonly [number, number]> {
  return new Map(
    modules.flatMap((module): [string, readonly [number, number]][] => {
      const rank = ofModule(ranks, module.path)
      return [
        [loraAName(module.path), [rank, module.in]],
        [loraBName(module.path), [module.out, rank]],
      ]
    }),
  )
}

/**
 * A new adapter. A is Kaiming-uniform with a = sqrt(5), which is uniform in +-1/sqrt(in), or normal with deviation 1/r; B is zero.
 *
 * @param options.r rank of all modules, or of each.
 * Each tensor has its own random stream, keyed by its name: it does not depend on the cut, or on which other modules there are.
 * Source: PEFT's LoraLayer.reset_lora_parameters; He et al. 2015, arXiv:1502.01852.
 */
export function initialAdapter(
  modules: readonly LinearModule[],
  options: { readonly r: PerModule; readonly seed: number; readonly init: true | 'gaussian' },
): Map<string, F32Tensor> {
  const { seed, init } = options
  const adapter = new Map<string, F32Tensor>()
  for (const module of modules) {
    const name = loraAName(module.path)
    const r = ofModule(options.r, module.path)
    const values = new Float32Array(r * module.in)
    const random = derive(seed, 'lora-init', name)
    const bound = 1 / Math.sqrt(module.in)
    if (init === 'gaussian') random.fillNormal(values, 0, 1 / r)
    else random.fillUniform(values, -bound, bound)
    adapter.set(name, f32([r, module.in], values))
    adapter.set(loraBName(module.path), f32([module.out, r], new Float32Array(module.out * r)))
  }
  return adapter
}

const NAMES_SHOWN = 5

/** The first names, and how many more there are. */
export function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN
  return names.slice(0, NAMES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

/**
 * Compares an adapter with the modules it is meant for.
 *
 * @param origin what the adapter is called in the error: its folder, or the client that sent it.
 * @throws UserError ADAPTER_MISMATCH naming the tensors that are missing, unexpected or of another shape.
 */
export function checkAdapter(
  adapter: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  modules: readonly LinearModule[],
  ranks: PerModule,
  origin: string,
): void {
  const expected = adapterShapes(modules, ranks)
  const missing = [...expected.keys()].filter((name) => !adapter.has(name))
  const unexpected = [...adapter.keys()].filter((name) => !expected.has(name))
  const misshapen = [...expected].flatMap(([name, shape]) => {
    const found = adapter.get(name)?.shape
    if (!found || (found.length === 2 && found[0] === shape[0] && found[1] === shape[1])) return []
    return `${name} is [${found.join(', ')}] where [${shape.join(', ')}] is needed`
  })
  const reasons = [
    missing.length > 0 ? `${missing.length} tensors are missing: ${listed(missing)}` : '',
    unexpected.length > 0 ? `${unexpected.length} tensors are unexpected: ${listed(unexpected)}` : '',
    misshapen.length > 0 ? `${misshapen.length} tensors have another shape: ${listed(misshapen)}` : '',
  ].filter((reason) => reason !== '')
  if (reasons.length === 0) return
  throw new UserError({
    code: 'ADAPTER_MISMATCH',
    what: `the adapter of ${origin} does not fit the model`,
    why: reasons.join('; '),
    fix: 'use the base model, target modules and rank that the adapter was trained with',
  })
}

/** Values in an adapter, for logs and the model card. */
export function adapterParameters(adapter: NamedTensors): number {
  return [...adapter.values()].reduce((sum, tensor) => sum + elements(tensor.shape), 0)
}
