/**
 * @file A config file, with overrides from the command line, as a resolved config.
 *
 * Paths inside a config are taken from the folder the command runs in, as Hugging Face's tools take theirs, not from the config's own folder.
 */
import { readFile, stat } from 'node:fs/promises'
import { basename, extname, resolve } from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import { UserError } from '../errors.js'
import { filledFromFolder } from '../model/warm-start.node.js'
import { configGroups, parseConfig } from './parse.js'
import { withValueAt } from './paths.js'
import type { Config } from './schema.js'
import { parseConfigSeries, type ConfigSeries } from './seeds.js'

/** A config is a page of text; what is larger is another file by mistake. */
const MAX_CONFIG_BYTES = 1 << 20

/**
 * Reads `path` (YAML, of which JSON is a part) and applies overrides such as `train.learning_rate=1e-3`, whose values are YAML too.
 *
 * @returns every key resolved; `output.run_name` is the file's name where the config gives none
 * @throws UserError CONFIG_NOT_FOUND, CONFIG_SYNTAX, BAD_ARGUMENT (an override without "="), what `parseConfig` throws, and ADAPTER_* for the folder of `lora.init_from`
 */
export async function loadConfig(path: string, overrides: readonly string[] = []): Promise<Config> {
  const { raw, source } = await readConfig(path, overrides)
  return named(parseConfig(raw, source), path)
}

/** As `loadConfig`, for a config that may have several seeds: one config for each. */
export async function loadConfigSeries(path: string, overrides: readonly string[] = []): Promise<ConfigSeries> {
  const { raw, source } = await readConfig(path, overrides)
  const { configs, isList } = parseConfigSeries(raw, source)
  const [first, ...others] = configs
  return { configs: [named(first, path), ...others.map((config) => named(config, path))], isList }
}

/**
 * A config that a run has written, every key resolved: nothing is left to fill in from other folders, which may be gone.
 * @throws as loadConfig
 */
export async function loadResolvedConfig(path: string, overrides: readonly string[] = []): Promise<Config> {
  const { raw, source } = await withOverrides(path, overrides)
  return named(parseConfig(raw, source), path)
}

/** A YAML file (of which JSON is a part) as plain data. @throws UserError CONFIG_NOT_FOUND, CONFIG_SYNTAX */
export async function readYaml(path: string): Promise<unknown> {
  return parseYaml(await readText(path), path)
}

interface ReadConfig {
  readonly raw: unknown
  readonly source: string
}

async function readConfig(path: string, overrides: readonly string[]): Promise<ReadConfig> {
  const { raw, source } = await withOverrides(path, overrides)
  return { raw: await filledFromFolder(configGroups(raw, source), source), source }
}

async function withOverrides(path: string, overrides: readonly string[]): Promise<ReadConfig> {
  const file = configGroups(await readYaml(path), path)
  const raw = overrides.map(parseOverride).reduce<unknown>((config, { keys, value }) => withValueAt(config, keys, value), file)
  const source = overrides.length === 0 ? path : `${path} with its overrides`
  return { raw, source }
}

function named(config: Config, path: string): Config {
  return { ...config, output: { ...config.output, run_name: config.output.run_name ?? nameOf(path) } }
}

async function readText(path: string): Promise<string> {
  const missing = (why: string): UserError =>
    new UserError({
      code: 'CONFIG_NOT_FOUND',
      what: `there is no config to read at ${path}`,
      why,
      fix: 'give the path of a YAML or JSON file, relative to the folder you run cutlayer in',
    })
  try {
    const { size } = await stat(path)
    if (size > MAX_CONFIG_BYTES) throw missing(`the file has ${size} bytes, and a config has at most ${MAX_CONFIG_BYTES}`)
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof UserError) throw error
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') throw missing(`looked for ${resolve(path)}`)
    throw missing(`${resolve(path)} cannot be read (${String(code ?? error)})`)
  }
}

function parseYaml(text: string, source: string): unknown {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const syntaxError = (message: string, position: number): UserError => {
    const { line, col } = lines.linePos(position)
    return new UserError({
      code: 'CONFIG_SYNTAX',
      what: `${source} cannot be read as YAML`,
      why: `line ${line}, column ${col}: ${message.trim().split('\n')[0]}`,
      fix: `correct line ${line}; keys of a group are indented below it by two spaces`,
    })
  }
  const [error] = document.errors
  if (error) throw syntaxError(error.message, error.pos[0])
  // A config has a few dozen keys: aliases that multiply into more are an attack or a mistake.
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    throw syntaxError(cause instanceof Error ? cause.message : String(cause), 0)
  }
}

function parseOverride(override: string): { keys: readonly string[]; value: unknown } {
  const equals = override.indexOf('=')
  const key = override.slice(0, Math.max(equals, 0)).trim()
  const keys = key.split('.')
  if (key === '' || keys.length < 2 || keys.includes('')) {
    throw new UserError({
      code: 'BAD_ARGUMENT',
      what: `"${override}" does not change a config key`,
      why: equals < 0 ? 'it has no "="' : `"${key}" is not of the form group.key`,
      fix: 'write it as group.key=value, for example train.learning_rate=1e-3',
    })
  }
  return { keys, value: parseYaml(override.slice(equals + 1), `the override ${key}`) }
}

/** The file's name without extension, in letters that a run's folder may have; null if none is left. */
function nameOf(path: string): string | null {
  const name = basename(path, extname(path))
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 100)
  return name === '' ? null : name
}
