/**
 * @file PEFT's adapter_config.json: what is read of it, what is refused, what is written.
 */
import { UserError } from '../errors.js'
import type { LoraConfig } from './adapter.js'
import { isMapping } from '../config/paths.js'
import { patternKeyProblem, patternProblem, type ModulePatterns } from './module-selection.js'

export interface PeftConfig {
  readonly lora: LoraConfig
  /** Hub id or name of the base model; null if the file has none. */
  readonly baseModel: string | null
  readonly revision: string | null
}

/** Keys whose value changes nothing in what a finished adapter computes. `init_lora_weights`, which the configs of inits belong to, is checked apart. */
const WITHOUT_EFFECT = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'corda_config',
  'ensure_weight_tying',
  'eva_config',
  'inference_mode',
  'init_lora_weights',
  'loftq_config',
  'lora_ga_config',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
])

const READ = new Set([
  'peft_type',
  'task_type',
  'r',
  'lora_alpha',
  'lora_dropout',
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'layers_pattern',
  'rank_pattern',
  'alpha_pattern',
  'fan_in_fan_out',
  'use_rslora',
  'bias',
])

/** Ways to start an adapter that leave the base weights as they are; the others train against a changed base. */
const HARMLESS_INITS: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'orthogonal', 'eva']

const MAX_RANK = 65536

/** Off, as PEFT writes it: null, false, or empty. */
function isOff(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

function isRank(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_RANK
}

/**
 * Reads a parsed adapter_config.json. A key that is not known here may stand in it only if it is off.
 *
 * @param file its name, for errors.
 * @throws UserError ADAPTER_UNSUPPORTED naming a key that asks for what is not built, ADAPTER_CORRUPT for a missing or wrongly typed key.
 */
export function parsePeftConfig(json: Readonly<Record<string, unknown>>, file: string): PeftConfig {
  const unsupported = (key: string, why = `${key} is ${JSON.stringify(json[key])}`): UserError =>
    new UserError({
      code: 'ADAPTER_UNSUPPORTED',
      what: `the adapter of ${file} uses ${key}, which cutlayer does not support`,
      why,
      fix: 'use a plain LoRA adapter: A and B on linear layers, of any ranks and alphas, with or without use_rslora',
    })
  const corrupt = (key: string, needed: string): UserError =>
    new UserError({
      code: 'ADAPTER_CORRUPT',
      what: `${file} cannot be read`,
      why: json[key] === undefined ? `${key} is missing` : `${key} is ${JSON.stringify(json[key])}, and must be ${needed}`,
      fix: 'save the adapter again with PEFT',
    })

  if (json.peft_type === undefined) throw corrupt('peft_type', 'LORA')
  if (json.peft_type !== 'LORA') throw unsupported('peft_type')
  if (!isOff(json.task_type) && json.task_type !== 'CAUSAL_LM') throw unsupported('task_type')
  if (!isOff(json.bias) && json.bias !== 'none') throw unsupported('bias')
  if (!HARMLESS_INITS.includes(json.init_lora_weights)) throw unsupported('init_lora_weights')
  for (const key of Object.keys(json)) {
    if (!READ.has(key) && !WITHOUT_EFFECT.has(key) && !isOff(json[key])) throw unsupported(key)
  }

  const { r, lora_alpha: alpha, lora_dropout: dropout = 0 } = json
  if (!isRank(r)) throw corrupt('r', `an integer from 1 to ${MAX_RANK}`)
  if (typeof alpha !== 'number' || !Number.isFinite(alpha)) throw corrupt('lora_alpha', 'a number')
  if (typeof dropout !== 'number' || !(dropout >= 0 && dropout < 1)) throw corrupt('lora_dropout', 'a number from 0 to below 1')
  const flag = (key: string): boolean => {
    const value = json[key] ?? false
    if (typeof value !== 'boolean') throw corrupt(key, 'true or false')
    return value
  }
  const text = (key: string): string | null => {
    const value = json[key] ?? null
    if (value !== null && typeof value !== 'string') throw corrupt(key, 'a text or null')
    return value
  }
  const readable = (key: string, problem: string | null): void => {
    if (problem !== null) throw unsupported(key, `${JSON.stringify(json[key])} cannot be read: ${problem}`)
  }
  const names = (key: string): readonly string[] | string => {
    const value = isOff(json[key]) ? [] : json[key]
    if (typeof value === 'string') readable(key, patternProblem(value))
    else if (!Array.isArray(value) || !value.every((name) => typeof name === 'string' && name !== ''))
      throw corrupt(key, 'names or a pattern')
    return value as readonly string[] | string
  }
  const patterns = (key: string, isValue: (value: unknown) => boolean, values: string): ModulePatterns => {
    const value = json[key] ?? {}
    if (!isMapping(value) || !Object.values(value).every(isValue)) throw corrupt(key, `a mapping from names to ${values}`)
    for (const name of Object.keys(value)) readable(key, patternKeyProblem(name))
    return value as ModulePatterns
  }
  const targetModules = names('target_modules')
  if (targetModules.length === 0) throw corrupt('target_modules', 'names or a pattern')
  return {
    lora: {
      ...{ r, alpha, dropout, targetModules },
      excludeModules: names('exclude_modules'),
      ...layersOf(json, typeof targetModules === 'string', corrupt),
      rankPattern: patterns('rank_pattern', isRank, `integers from 1 to ${MAX_RANK}`),
      alphaPattern: patterns('alpha_pattern', Number.isFinite, 'numbers'),
      useRslora: flag('use_rslora'),
      fanInFanOut: flag('fan_in_fan_out'),
    },
    baseModel: text('base_model_name_or_path'),
    revision: text('revision'),
  }
}

/** `layers_to_transform` and `layers_pattern`. PEFT has them with a list of targets only, and passes over an empty list. */
function layersOf(
  json: Readonly<Record<string, unknown>>,
  isPattern: boolean,
  corrupt: (key: string, needed: string) => UserError,
): Pick<LoraConfig, 'layers' | 'layersPattern'> {
  const { layers_to_transform: layers, layers_pattern: pattern } = json
  const numbers = layers === undefined || layers === null ? [] : Array.isArray(layers) ? layers : [layers]
  if (!numbers.every((layer) => Number.isSafeInteger(layer) && layer >= 0)) throw corrupt('layers_to_transform', 'numbers of layers')
  const names: unknown[] = pattern === undefined || pattern === null || pattern === '' ? [] : Array.isArray(pattern) ? pattern : [pattern]
  if (!names.every((name) => typeof name === 'string' && patternKeyProblem(name) === null))
    throw corrupt('layers_pattern', 'names of lists of layers')
  if (isPattern && layers !== undefined && layers !== null) throw corrupt('layers_to_transform', 'null where target_modules is a text')
  if (names.length > 0 && (layers === undefined || layers === null)) throw corrupt('layers_pattern', 'null where layers_to_transform is')
  return { layers: numbers.length === 0 ? null : (numbers as number[]), layersPattern: names as string[] }
}

export interface PeftConfigToWrite extends PeftConfig {
  /** Hub id or name; it goes into public files, so never a path of this machine. */
  readonly baseModel: string
  readonly init: true | 'gaussian'
}

/** adapter_config.json as text: indent 2, keys sorted, so the same adapter gives the same bytes. */
export function formatPeftConfig({ lora, baseModel, revision, init }: PeftConfigToWrite): string {
  const config = {
    alpha_pattern: lora.alphaPattern,
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    bias: 'none',
    // Older readers warn of a key that they do not know.
    ...(lora.excludeModules.length === 0 ? {} : { exclude_modules: sorted(lora.excludeModules) }),
    fan_in_fan_out: lora.fanInFanOut,
    inference_mode: true,
    init_lora_weights: init,
    layers_pattern: lora.layersPattern.length === 0 ? null : lora.layersPattern,
    layers_to_transform: lora.layers,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: lora.r,
    rank_pattern: lora.rankPattern,
    revision,
    target_modules: sorted(lora.targetModules),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: lora.useRslora,
  }
  return `${JSON.stringify(config, null, 2)}\n`
}

function sorted(names: readonly string[] | string): readonly string[] | string {
  return typeof names === 'string' ? names : [...names].sort()
}
