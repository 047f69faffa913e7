/**
 * @file A sweep's file: one config, and settings that are tried on it, each over the same seeds.
 *
 *     config: quickstart.yaml        # relative to this file
 *     set: { train.seed: [1, 2, 3] } # for all
 *     settings:
 *       fp32: {}
 *       int8: { transport.activation_codec: int8 }
 *     baseline: fp32
 */
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { loadConfigSeries, readYaml } from '../../shared/config/load.node.js'
import type { Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'

/** Keys as in overrides, `group.key`. */
const Changes = z.record(z.string().regex(/^[^.=\s]+(\.[^.=\s]+)+$/), z.unknown())
const SettingName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9+:=._-]{0,63}$/)

const SweepFile = z.strictObject({
  config: z.string().min(1),
  set: Changes.default({}),
  settings: z.record(SettingName, Changes.nullable()).refine((settings) => Object.keys(settings).length >= 2),
  /** The first setting, if absent. */
  baseline: z.string().optional(),
})

export interface Setting {
  readonly name: string
  /** One for each seed. */
  readonly configs: readonly Config[]
}

export interface SweepPlan {
  readonly path: string
  /** In the file's order. */
  readonly settings: readonly Setting[]
  readonly baseline: string
}

/**
 * Reads a sweep and all configs that it makes, so that a mistake in the last of them is told before the first run.
 * @param overrides as of `cutlayer run`, stronger than the file
 * @throws UserError CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_VALUE, and what configs are refused with
 */
export async function readSweep(path: string, overrides: readonly string[] = []): Promise<SweepPlan> {
  const read = SweepFile.safeParse(await readYaml(path))
  if (!read.success) throw malformed(path, read.error.issues[0])
  const { config, set, settings, baseline = Object.keys(settings)[0] } = read.data
  if (!Object.hasOwn(settings, baseline)) throw noBaseline(path, baseline, Object.keys(settings))
  const base = resolve(dirname(path), config)
  const plans: Setting[] = []
  for (const [name, changes] of Object.entries(settings)) {
    const all = [...overridesOf(set), ...overridesOf(changes ?? {}), ...overrides]
    const { configs } = await loadConfigSeries(base, all)
    const runName = `${configs[0].output.run_name ?? 'sweep'}-${name}`.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100)
    plans.push({ name, configs: configs.map((own) => ({ ...own, output: { ...own.output, run_name: runName } })) })
  }
  const seedsOf = ({ configs }: Setting): string => configs.map(({ train }) => train.seed).join()
  const differing = plans.find((setting) => seedsOf(setting) !== seedsOf(plans[0]))
  if (differing) throw otherSeeds(path, differing.name)
  return { path, settings: plans, baseline }
}

/** Values as JSON, which is YAML. */
function overridesOf(changes: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(changes).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
}

function malformed(path: string, issue: z.core.$ZodIssue | undefined): UserError {
  const where = issue && issue.path.length > 0 ? `at ${issue.path.map(String).join('.')}: ` : ''
  return new UserError({
    code: 'CONFIG_VALUE',
    what: `${path} is not a sweep`,
    why: `${where}${issue?.message ?? 'it is empty'}`,
    fix: 'write config: FILE, and under settings: two or more names, each with the keys it changes, such as train.learning_rate: 0.001',
  })
}

function noBaseline(path: string, baseline: string, settings: readonly string[]): UserError {
  return new UserError({
    code: 'CONFIG_VALUE',
    what: `${path} compares with a setting that it does not have`,
    why: `baseline is ${baseline}, and the settings are ${settings.join(', ')}`,
    fix: 'name one of its settings as baseline',
  })
}

function otherSeeds(path: string, setting: string): UserError {
  return new UserError({
    code: 'CONFIG_VALUE',
    what: `${path} has no pairs to compare`,
    why: `${setting} has other seeds than the settings before it`,
    fix: 'write train.seed under set:, so that all settings share it',
  })
}
