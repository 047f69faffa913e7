/**
 * @file Several seeds in one config: `train.seed: [1, 2, 3]` stands for three configs that differ in their seed alone.
 *
 * A `Config` has one seed, and makes one run. So the list is taken apart here, before anything else looks at the config.
 */
import { z } from 'zod'
import { UserError } from '../errors.js'
import { TrainGroup } from './groups.js'
import { configGroups, parseConfig } from './parse.js'
import { valueAt, withValueAt } from './paths.js'
import { ConfigGroups, type Config } from './schema.js'

const oneSeed = TrainGroup.shape.seed.unwrap()
const severalSeeds = z.array(oneSeed).min(1)

/** What a config file may say, where a `Config` has one seed. */
export const ConfigFile = ConfigGroups.extend({
  train: TrainGroup.extend({ seed: z.union([oneSeed, severalSeeds]).default(TrainGroup.shape.seed.parse(undefined)) }).prefault({}),
})

/** The configs of the runs that a file asks for. */
export interface ConfigSeries {
  /** One for each seed, in the file's order; at least one. */
  readonly configs: readonly [Config, ...Config[]]
  /** Whether `train.seed` is a list, be it of one. */
  readonly isList: boolean
}

/**
 * As `parseConfig`, with `train.seed` a number or a list of different ones.
 *
 * @throws UserError CONFIG_VALUE also for a list that is empty or names a seed twice, and all that `parseConfig` throws.
 */
export function parseConfigSeries(raw: unknown, source = 'the config'): ConfigSeries {
  const groups = configGroups(raw, source)
  const seed = valueAt(groups, 'train.seed')
  if (!Array.isArray(seed)) return { configs: [parseConfig(groups, source)], isList: false }
  const seeds = severalSeeds.safeParse(seed)
  if (!seeds.success) throw badList(source, seed, seed.length === 0 ? 'at least one seed' : 'a list of whole numbers of at least 0')
  if (new Set(seeds.data).size < seeds.data.length) throw badList(source, seed, 'each seed once (the same seed gives the same run)')
  const [first, ...others] = seeds.data.map((value) => parseConfig(withValueAt(groups, ['train', 'seed'], value), source))
  return { configs: [first!, ...others], isList: true }
}

function badList(source: string, seeds: readonly unknown[], expected: string): UserError {
  return new UserError({
    code: 'CONFIG_VALUE',
    what: `${source} has a wrong value for train.seed`,
    why: `it says ${JSON.stringify(seeds)}, and ${expected} is expected`,
    fix: 'correct train.seed: one number, or a list such as [1, 2, 3] for one run each',
  })
}
