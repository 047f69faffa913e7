/**
 * @file The keys a config may have, and the nearest of them to one that it may not.
 */
import { distance } from 'fastest-levenshtein'
import { UserError } from '../errors.js'
import { isMapping } from './paths.js'
import { ConfigGroups } from './schema.js'

/** Keys by group, as the schema has them. */
export const KNOWN_KEYS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(ConfigGroups.shape).map(([group, schema]) => [group, Object.keys(schema.unwrap().shape)]),
)

/** What the same thing is called elsewhere (Hugging Face, PEFT, Flower, papers), where spelling alone would not find ours; with its group where that decides. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  lr: 'train.learning_rate',
  batch_size: 'train.per_device_train_batch_size',
  optimizer: 'train.optim',
  scheduler: 'train.lr_scheduler_type',
  clip_norm: 'train.max_grad_norm',
  dropout: 'lora.lora_dropout',
  rank: 'lora.r',
  lora_r: 'lora.r',
  'lora.alpha': 'lora.lora_alpha',
  epochs: 'federation.local_epochs',
  num_train_epochs: 'federation.local_epochs',
  max_steps: 'federation.local_steps',
  rounds: 'federation.num_rounds',
  num_server_rounds: 'federation.num_rounds',
  clients: 'federation.num_clients',
  fraction_fit: 'federation.fraction_train',
  min_fit_clients: 'federation.min_train_clients',
  aggregation: 'federation.strategy',
  max_seq_length: 'data.max_length',
  cut: 'split.cut_layer',
  split_layer: 'split.cut_layer',
  model: 'model.model_name_or_path',
  codec: 'transport.activation_codec',
  compression: 'transport.activation_codec',
  name: 'output.run_name',
}

/** A key that moved to another group costs this many letters. */
const OTHER_GROUP_LETTERS = 1

/**
 * The known key that was most likely meant.
 *
 * @param group the group the key stands in, or null for the top level
 * @returns a group's name or `group.key`
 */
export function nearestKey(key: string, group: string | null): string {
  const plain = key.toLowerCase().replaceAll('-', '_')
  const alias = [`${group}.${plain}`, plain].find((name) => Object.hasOwn(OTHER_NAMES, name))
  if (alias !== undefined) return OTHER_NAMES[alias]
  const candidates = [...KNOWN_KEYS].flatMap(([known, keys]) => [
    ...keys.map((name) => ({ name: `${known}.${name}`, letters: distance(plain, name) + (known === group ? 0 : OTHER_GROUP_LETTERS) })),
    // A misspelt group holds a mapping, and stands at the top level.
    ...(group === null ? [{ name: known, letters: distance(plain, known) }] : []),
  ])
  return candidates.reduce((best, candidate) => (candidate.letters < best.letters ? candidate : best)).name
}

/**
 * @throws UserError CONFIG_UNKNOWN_KEY for the first key that no group has; CONFIG_VALUE where a group is not a mapping.
 */
export function refuseUnknownKeys(raw: Readonly<Record<string, unknown>>, source: string): void {
  for (const [group, value] of Object.entries(raw)) {
    const keys = KNOWN_KEYS.get(group)
    if (keys === undefined) throw unknownKey(group, null, source)
    if (value === null || value === undefined) continue // `train:` with nothing under it: all defaults
    if (!isMapping(value)) {
      throw new UserError({
        code: 'CONFIG_VALUE',
        what: `${source} has a wrong value for ${group}`,
        why: `${group} is a group of keys, and it says ${JSON.stringify(value)}`,
        fix: `write the keys of ${group} below it, as in ${group}.${group === 'privacy' ? 'key' : keys[0]}`,
      })
    }
    if (group === 'privacy') continue // all of its keys are planned: refused by name in not-built.ts
    for (const key of Object.keys(value)) {
      if (!keys.includes(key)) throw unknownKey(key, group, source)
    }
  }
}

function unknownKey(key: string, group: string | null, source: string): UserError {
  const nearest = nearestKey(key, group)
  return new UserError({
    code: 'CONFIG_UNKNOWN_KEY',
    what: `${source} has a key that no config has`,
    why: group === null ? `there is no group called ${key}` : `the group ${group} has no key called ${key}`,
    fix: `did you mean ${nearest}?`,
  })
}
