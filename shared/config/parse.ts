/**
 * @file From plain data (a parsed YAML or JSON file, a library caller's object) to a resolved config.
 */
import type { z } from 'zod'
import { UserError } from '../errors.js'
import { refuseUnknownKeys } from './known-keys.js'
import { refuseNotBuilt } from './not-built.js'
import { isMapping, type Mapping, valueAt } from './paths.js'
import { Config } from './schema.js'

/**
 * @param raw groups of keys; null or undefined (an empty file) gives the defaults
 * @param source names where it came from in errors, as `config.yaml`
 * @throws UserError CONFIG_UNKNOWN_KEY, CONFIG_NOT_BUILT, CONFIG_VALUE (also for a list of seeds, see seeds.ts)
 */
export function parseConfig(raw: unknown, source = 'the config'): Config {
  const groups = configGroups(raw, source)
  refuseNotBuilt(groups, source)
  refuseSeveralSeeds(groups, source)
  const filled = Object.fromEntries(Object.entries(groups).map(([group, value]) => [group, value ?? {}]))
  const result = Config.safeParse(filled)
  if (result.success) return result.data
  const [first, ...others] = result.error.issues.map((issue) => {
    const path = issue.path.map(String).join('.')
    return { path, got: describe(valueAt(filled, path)), expected: expectation(issue) }
  })
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: `${source} has a wrong value for ${first.path}`,
    why: `it says ${first.got}, and ${first.expected} is expected`,
    fix: others.length === 0 ? `correct ${first.path}` : `correct ${first.path}, and then ${others.map(({ path }) => path).join(', ')}`,
  })
}

/**
 * Plain data as groups of known keys, values unread.
 *
 * @throws UserError CONFIG_VALUE if it is not a mapping of mappings, CONFIG_UNKNOWN_KEY
 */
export function configGroups(raw: unknown, source: string): Mapping {
  const groups = raw ?? {}
  if (!isMapping(groups)) {
    throw new UserError({
      code: 'CONFIG_VALUE',
      what: `${source} is not a config`,
      why: `it holds ${describe(groups)} where groups of keys are expected`,
      fix: 'write groups such as "train:" with keys such as "learning_rate: 0.0005" below them',
    })
  }
  refuseUnknownKeys(groups, source)
  return groups
}

/** A list of seeds is one config for each: `parseConfigSeries` (seeds.ts) takes it apart. */
function refuseSeveralSeeds(groups: Mapping, source: string): void {
  const seed = valueAt(groups, 'train.seed')
  if (!Array.isArray(seed)) return
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: `${source} has several seeds, and here it can make only one run`,
    why: `train.seed says ${describe(seed)}; only \`cutlayer run\` makes one run for each`,
    fix: 'give one seed, such as train.seed=1, or use `cutlayer run`',
  })
}

/** What a key wants, as a phrase that goes before "is expected". */
function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return TYPE_NAMES[issue.expected] ?? issue.expected
    case 'invalid_value':
      return issue.values.map(String).join(' or ')
    case 'too_small':
      return `${quantity(issue.origin)} ${issue.inclusive === false ? 'above' : 'of at least'} ${issue.minimum}`
    case 'too_big':
      return `${quantity(issue.origin)} ${issue.inclusive === false ? 'below' : 'of at most'} ${issue.maximum}`
    default:
      return issue.message // unions, formats and rules between keys word their own
  }
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  record: 'a mapping',
  object: 'a mapping',
  null: 'no value',
}

function quantity(origin: string): string {
  if (origin === 'string') return 'a text length'
  if (origin === 'array') return 'a list length'
  return 'a number'
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'number') return String(value) // JSON has no NaN and no infinity
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
