/**
 * @file PEFT's adapter_config.json: what is read of it, what is refused, what is written.
 */
import { UserError } from '../errors.js'
import type { LoraConfig } from './adapter.js'

export interface PeftConfig {
  readonly lora: LoraConfig
  /** Hub id or name of the base model; null if the file has none. */
  readonly baseModel: string | null
  readonly revision: string | null
}

/** Keys whose value changes nothing in what a finished adapter computes. `init_lora_weights` is checked apart. */
const WITHOUT_EFFECT = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'ensure_weight_tying',
  'inference_mode',
  'init_lora_weights',
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
      fix: 'use a plain LoRA adapter: r, lora_alpha, target_modules as a list, use_rslora',
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

  const { r, lora_alpha: alpha, lora_dropout: dropout = 0, target_modules: targets } = json
  if (typeof targets === 'string') {
    throw unsupported(
      'target_modules',
      `it is ${targets === 'all-linear' ? 'all-linear' : `the pattern ${JSON.stringify(targets)}`}, and only a list of names is read`,
    )
  }
  if (!Array.isArray(targets) || targets.length === 0 || !targets.every((name) => typeof name === 'string' && name !== '')) {
    throw corrupt('target_modules', 'a list of names')
  }
  if (typeof r !== 'number' || !Number.isInteger(r) || r < 1 || r > MAX_RANK) throw corrupt('r', `an integer from 1 to ${MAX_RANK}`)
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
  return {
    lora: { r, alpha, dropout, targetModules: targets as string[], useRslora: flag('use_rslora'), fanInFanOut: flag('fan_in_fan_out') },
    baseModel: text('base_model_name_or_path'),
    revision: text('revision'),
  }
}

export interface PeftConfigToWrite extends PeftConfig {
  /** Hub id or name; it goes into public files, so never a path of this machine. */
  readonly baseModel: string
  readonly init: true | 'gaussian'
  /** Of an adapter that covers some layers only, as a client's half: their numbers; null: all. */
  readonly layers: readonly number[] | null
}

/** adapter_config.json as text: indent 2, keys sorted, so the same adapter gives the same bytes. */
export function formatPeftConfig({ lora, baseModel, revision, init, layers }: PeftConfigToWrite): string {
  const config = {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    bias: 'none',
    fan_in_fan_out: lora.fanInFanOut,
    inference_mode: true,
    init_lora_weights: init,
    layers_pattern: null,
    layers_to_transform: layers,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: lora.r,
    rank_pattern: {},
    revision,
    target_modules: [...lora.targetModules].sort(),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: lora.useRslora,
  }
  return `${JSON.stringify(config, null, 2)}\n`
}
