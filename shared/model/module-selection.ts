/**
 * @file Which linear layers an adapter stands on, and with which rank and alpha each, as PEFT's config says it.
 *
 * Source: PEFT 0.21, tuners_utils.check_target_module_exists, tuners_utils._maybe_include_all_linear_layers and other.get_pattern_key.
 */
import type { LinearModule } from './families/family.js'
import { compilePattern, escapePattern, PatternError } from './module-pattern.js'

export interface ModuleSelection {
  /** Whole paths or their last names; or a Python regular expression for whole paths; or `all-linear`: every linear layer but the output head. */
  readonly targetModules: readonly string[] | string
  /** As `targetModules`, of those that are left out; none: []. */
  readonly excludeModules: readonly string[] | string
  /** Numbers of the blocks that the last names hold for; null: all. A target that is a whole path stands wherever it is. */
  readonly layers: readonly number[] | null
  /** What the list of blocks is called in a path, as a pattern: `layers` or `h`; none: any name. */
  readonly layersPattern: readonly string[]
}

/** Numbers for single modules. A key is a pattern for a whole path or its last names; the first that matches counts. */
export type ModulePatterns = Readonly<Record<string, number>>

/** A number for each adapted module, by its path; or one for all of them. */
export type PerModule = number | ReadonlyMap<string, number>

export function ofModule(values: PerModule, path: string): number {
  return typeof values === 'number' ? values : values.get(path)!
}

export function isAllLinear(targets: ModuleSelection['targetModules']): boolean {
  return typeof targets === 'string' && targets.toLowerCase() === 'all-linear'
}

/** Whether a target is the path, or its last names. */
export function isNamed(path: string, target: string): boolean {
  return path === target || path.endsWith(`.${target}`)
}

/** The modules that are selected, in their order. @throws PatternError */
export function selectedModules(linears: readonly LinearModule[], selection: ModuleSelection): LinearModule[] {
  const isSelected = selector(selection)
  return linears.filter(({ path }) => isSelected(path))
}

/** Whether a linear layer is selected. @throws PatternError */
export function selector({ targetModules, excludeModules, layers, layersPattern }: ModuleSelection): (path: string) => boolean {
  const isExcluded = anyNamed(excludeModules)
  const isTarget = anyNamed(isAllLinear(targetModules) ? '.*' : targetModules)
  if (typeof targetModules === 'string' || layers === null) return (path) => !isExcluded(path) && isTarget(path)
  const whole = new Set(targetModules)
  const isInLayers = compilePattern(layerPattern(layers, layersPattern))
  return (path) => !isExcluded(path) && (whole.has(path) || (isTarget(path) && isInLayers.matches(path)))
}

function anyNamed(targets: readonly string[] | string): (path: string) => boolean {
  if (typeof targets !== 'string') return (path) => targets.some((target) => isNamed(path, target))
  const pattern = compilePattern(targets)
  return (path) => pattern.matches(path)
}

/**
 * A pattern for all paths of modules inside these blocks. PEFT takes the first number in a path that follows a name of the list; in the families
 * here a path has but one number.
 */
function layerPattern(layers: readonly number[], names: readonly string[]): string {
  const list = names.length === 0 ? String.raw`.*\.[^.]*` : `(?:.*\\.)?(?:${names.join('|')})`
  return `${list}\\.(?:${layers.join('|')})\\..*`
}

/** The same selection as a list or one pattern alone, which is how a run's config says it. */
export function selectionAsTargets(selection: ModuleSelection): readonly string[] | string {
  const { targetModules, excludeModules, layers, layersPattern } = selection
  if (excludeModules.length === 0 && (layers === null || typeof targetModules === 'string')) return targetModules
  const pattern = isAllLinear(targetModules) ? '.*' : typeof targetModules === 'string' ? targetModules : namesAsPattern(targetModules)
  const inLayers =
    layers === null || typeof targetModules === 'string'
      ? pattern
      : `(?=${layerPattern(layers, layersPattern)})(?:${pattern})|${targetModules.map(escapePattern).join('|')}`
  if (excludeModules.length === 0) return inLayers
  const excluded = typeof excludeModules === 'string' ? excludeModules : namesAsPattern(excludeModules)
  return `(?!(?:${excluded})$)(?:${inLayers})`
}

function namesAsPattern(names: readonly string[]): string {
  return `(?:.*\\.)?(?:${names.map(escapePattern).join('|')})`
}

/** What the modules are called: the last parts of their paths, each once. */
export function lastNames(modules: readonly LinearModule[]): string[] {
  return [...new Set(modules.map(({ path }) => path.slice(path.lastIndexOf('.') + 1)))]
}

/** Last names of the modules if they select these and no others, else whole paths: how a list of targets names them. */
export function namesOf(linears: readonly LinearModule[], chosen: readonly LinearModule[]): string[] {
  const names = lastNames(chosen)
  const named = linears.filter(({ path }) => names.some((name) => isNamed(path, name)))
  return named.length === chosen.length ? names : chosen.map(({ path }) => path)
}

/** What a key of `rank_pattern` or `alpha_pattern` matches. */
function keyPattern(key: string): string {
  return `(.*\\.)?(${key})`
}

/** Why a text in place of a list of targets cannot be read; null: it can. */
export function patternProblem(targets: string): string | null {
  return isAllLinear(targets) ? null : problemOf(targets)
}

/** Why a key of `rank_pattern` or `alpha_pattern` cannot be read; null: it can. */
export function patternKeyProblem(key: string): string | null {
  return problemOf(keyPattern(key))
}

function problemOf(pattern: string): string | null {
  try {
    compilePattern(pattern)
    return null
  } catch (error) {
    if (error instanceof PatternError) return error.message
    throw error
  }
}

/**
 * The number of each module: that of the first key that matches its path, else `common`.
 * @returns one number where all are the same.
 * @throws PatternError
 */
export function perModule(paths: readonly string[], common: number, patterns: ModulePatterns): PerModule {
  const keys = Object.entries(patterns).map(([key, value]) => ({ pattern: compilePattern(keyPattern(key)), value }))
  const values = new Map(paths.map((path) => [path, keys.find(({ pattern }) => pattern.matches(path))?.value ?? common]))
  const [first = common, ...others] = new Set(values.values())
  return others.length === 0 ? first : values
}

/** Keys that match none of the paths. @throws PatternError */
export function unmatchedKeys(paths: readonly string[], patterns: ModulePatterns): string[] {
  return Object.keys(patterns).filter((key) => {
    const pattern = compilePattern(keyPattern(key))
    return !paths.some((path) => pattern.matches(path))
  })
}

/** The numbers that differ from the common one, by whole path: how they are written. */
export function exceptions(paths: readonly string[], values: PerModule, common: number): ModulePatterns {
  return Object.fromEntries(paths.map((path) => [path, ofModule(values, path)] as const).filter(([, value]) => value !== common))
}
