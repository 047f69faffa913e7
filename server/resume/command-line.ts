/**
 * @file `--resume RUN`, as `run` and `server` have it: which run is meant, and with what config it is to go on.
 */
import { join } from 'node:path'
import { loadConfig, loadResolvedConfig } from '../../shared/config/load.node.js'
import type { Config } from '../../shared/config/schema.js'
import { UserError } from '../../shared/errors.js'
import { findRun } from '../../shared/find-run.node.js'
import { openInterruptedRun, type InterruptedRun } from './interrupted-run.js'

/** A config, if one was typed, and what changes it. */
export interface ConfigOperands {
  readonly path: string | null
  readonly overrides: readonly string[]
}

/** `group.key=value`, which may come first where a run has a config of its own. */
const OVERRIDE = /^[a-z_]+(\.[^=./\\]+)+=/
const DEFAULT_OUTPUT_DIR = 'runs'

export function configOperands(operands: readonly string[]): ConfigOperands {
  const [first, ...others] = operands
  if (first === undefined || OVERRIDE.test(first)) return { path: null, overrides: operands }
  return { path: first, overrides: others }
}

/**
 * Opens the run to go on with. Whoever gets it releases its lock in the end.
 * @param reference its folder, name or id, looked for where the config, or an override, has its runs
 * @throws UserError RUN_NOT_FOUND, and what openInterruptedRun and loadConfig throw.
 */
export async function openRunToResume(reference: string, { path, overrides }: ConfigOperands): Promise<InterruptedRun> {
  const asked = path === null ? null : await loadConfig(path, overrides)
  const given = overrides.findLast((override) => override.startsWith('output.output_dir='))?.slice('output.output_dir='.length)
  const { folder } = await findRun(reference, asked?.output.output_dir ?? given ?? DEFAULT_OUTPUT_DIR)
  return openInterruptedRun(folder, async () => asked ?? (await loadResolvedConfig(join(folder, 'config.yaml'), overrides)))
}

/** @throws UserError BAD_ARGUMENT without a config */
export function neededConfig({ path, overrides }: ConfigOperands, verb: string): ConfigOperands & { readonly path: string } {
  if (path !== null) return { path, overrides }
  throw new UserError({
    code: 'BAD_ARGUMENT',
    what: `cutlayer ${verb} was called in a way that it does not know`,
    why: "missing required argument 'config'",
    fix: `give a config, or --resume and a run that was interrupted; see cutlayer ${verb} --help`,
  })
}

/** The config of a run that begins. @throws UserError BAD_ARGUMENT without one, and what loadConfig throws */
export function loadConfigOf(given: ConfigOperands, verb: string): Promise<Config> {
  const { path, overrides } = neededConfig(given, verb)
  return loadConfig(path, overrides)
}
