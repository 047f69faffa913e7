/**
 * @file `cutlayer export`: a run's adapter as a PEFT folder of its own.
 */
import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { defineCommand } from '../shared/command-line/index.node.js'
import { UserError } from '../shared/errors.js'
import { writeAtomically } from '../shared/model/atomic-file.node.js'
import { requiredJson } from '../shared/model/json-file.node.js'
import { asOutputError, writeNewFolder } from '../shared/model/new-folder.node.js'
import { parsePeftConfig, type PeftConfig } from '../shared/model/peft-config.js'
import { parseSafetensors } from '../shared/model/safetensors.js'
import { elements } from '../shared/tensor.js'
import { DEFAULT_OUTPUT_DIR } from './inspect/inspect.js'
import { findRun, type RunReference } from './runs.js'

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'
const CARD = 'README.md'
const MAX_CONFIG_BYTES = 16 * 2 ** 20

export const exportCommand = defineCommand({
  usage: 'export <run> <folder>',
  summary: "write a run's adapter to a folder of its own, as PEFT reads it",
  example: 'cutlayer export quickstart ./my-adapter\ncutlayer export a1b2c3 ./my-adapter --best --format json',
  flags: {
    '--best': "the best round's adapter in place of the last round's",
    '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})`,
  },
  options: z.object({ best: z.boolean().default(false), outputDir: z.string().default(DEFAULT_OUTPUT_DIR) }),
  async run(_, [reference, folder], { best, outputDir }) {
    const run = await findRun(reference, outputDir)
    const adapter = await readAdapterFiles(run, best)
    const target = resolve(folder!)
    await writeAdapterFiles(target, adapter.files)
    const { lora, baseModel } = adapter.config
    const data = {
      ...{ adapter_dir: target, run_dir: run.folder, which: best ? 'best' : 'last', base_model: baseModel },
      ...{ r: lora.r, lora_alpha: lora.alpha, target_modules: lora.targetModules, parameters: adapter.parameters },
    }
    const text = `wrote the ${data.which} adapter of ${run.name} (${run.id}) to ${target}\nrank ${lora.r} on ${lora.targetModules.join(', ')} of ${baseModel ?? 'a model without a name'}: ${adapter.parameters} parameters`
    return { data, text }
  },
})

interface AdapterFiles {
  readonly config: PeftConfig
  readonly parameters: number
  readonly files: ReadonlyMap<string, Uint8Array>
}

/** The files as they are, checked to be whole. */
async function readAdapterFiles(run: RunReference, best: boolean): Promise<AdapterFiles> {
  const folder = join(run.folder, best ? 'adapter-best' : 'adapter')
  if ((await stat(folder).catch(() => null)) === null) throw await noAdapter(run, best)
  const configFile = join(folder, CONFIG)
  const config = parsePeftConfig(await requiredJson(configFile, MAX_CONFIG_BYTES, 'ADAPTER_NOT_FOUND', 'ADAPTER_CORRUPT'), configFile)
  const weights = await requiredFile(join(folder, WEIGHTS))
  const { tensors } = parseSafetensors(weights, { name: join(folder, WEIGHTS), code: 'ADAPTER_CORRUPT' })
  const card = await readFile(join(folder, CARD)).catch(() => null)
  return {
    config,
    parameters: [...tensors.values()].reduce((sum, { shape }) => sum + elements(shape), 0),
    // The config comes last: a folder without it is no adapter to any reader.
    files: new Map([[WEIGHTS, weights], ...(card === null ? [] : [[CARD, card] as const]), [CONFIG, await requiredFile(configFile)]]),
  }
}

async function requiredFile(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: Error) => {
    const why = cause.message
    throw new UserError(
      { code: 'ADAPTER_NOT_FOUND', what: `${path} cannot be read`, why, fix: 'give a run whose adapter is whole' },
      { cause },
    )
  })
}

async function noAdapter(run: RunReference, best: boolean): Promise<UserError> {
  const other = best ? 'adapter' : 'adapter-best'
  const hasOther = (await stat(join(run.folder, other)).catch(() => null)) !== null
  return new UserError({
    code: 'ADAPTER_NOT_FOUND',
    what: `the run ${run.name} (${run.id}) has no ${best ? 'best' : 'last'} adapter`,
    why: `${run.folder} has no folder ${best ? 'adapter-best' : 'adapter'}; the first is written after a round`,
    fix: hasOther
      ? `take the one in ${other}: ${best ? 'leave out --best' : 'add --best'}`
      : 'let the run finish a round, or name another run',
  })
}

/** A new folder appears whole; an adapter that is there already is replaced file by file. */
async function writeAdapterFiles(target: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  if (!(await isAdapter(target))) {
    await writeNewFolder(target, async (temporary) => {
      for (const [name, bytes] of files) await writeAtomically(join(temporary, name), (handle) => handle.writeFile(bytes))
    })
    return
  }
  try {
    for (const [name, bytes] of files) await writeAtomically(join(target, name), (handle) => handle.writeFile(bytes))
  } catch (error) {
    throw asOutputError(target, error)
  }
}

async function isAdapter(folder: string): Promise<boolean> {
  return (await stat(join(folder, CONFIG)).catch(() => null)) !== null
}
