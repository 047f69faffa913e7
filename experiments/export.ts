/**
 * @file `cutlayer export`: a run's adapter as a PEFT folder of its own.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { defineCommand } from '../shared/command-line/index.node.js'
import { UserError } from '../shared/errors.js'
import { isAdapter, namedAdapters } from '../shared/model/adapter-folders.node.js'
import { writeAtomically } from '../shared/model/atomic-file.node.js'
import { requiredJson } from '../shared/model/json-file.node.js'
import { asOutputError, writeNewFolder } from '../shared/model/new-folder.node.js'
import { parsePeftConfig, type PeftConfig } from '../shared/model/peft-config.js'
import { parseSafetensors } from '../shared/model/safetensors.js'
import { elements } from '../shared/tensor.js'
import { DEFAULT_OUTPUT_DIR } from './inspect/inspect.js'
import { adaptersOfRun, type RunAdapter } from './run-adapters.js'
import { findRun } from './runs.js'

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
    '--client <id>': 'of a run in which each client has its own adapter: this one alone [all, each in a folder of its name]',
    '--output-dir <folder>': `where the runs are (default: ${DEFAULT_OUTPUT_DIR})`,
  },
  options: z.object({
    best: z.boolean().default(false),
    client: z.string().optional(),
    outputDir: z.string().default(DEFAULT_OUTPUT_DIR),
  }),
  async run(_, [reference, folder], { best, client, outputDir }) {
    const run = await findRun(reference, outputDir)
    const which = best ? 'best' : 'last'
    const adapters = await Promise.all(adaptersOfRun(run, which, client).map(readAdapterFiles))
    const target = resolve(folder!)
    // One that was asked for by its client, or that all share, is the folder; several lie in it under their names.
    const several = client === undefined && adapters[0]!.client !== null ? adapters.map(({ client: name }) => name!) : null
    if (several === null) await writeAdapterFiles(target, adapters[0]!.files)
    else await writeSeveral(target, new Map(adapters.map(({ client: name, files }) => [name!, files])))
    const { config, parameters } = adapters[0]!
    const { lora, baseModel } = config
    const data = {
      ...{ adapter_dir: target, run_dir: run.folder, which, base_model: baseModel },
      ...(several === null ? {} : { client_adapter_dirs: Object.fromEntries(several.map((name) => [name, join(target, name)])) }),
      ...{ r: lora.r, lora_alpha: lora.alpha, target_modules: lora.targetModules, parameters },
    }
    const [what, where] =
      several === null
        ? [`the ${which} adapter of ${run.name}`, target]
        : [`the ${which} adapters of ${several.join(', ')} in ${run.name}`, `${target}, each in a folder of its name`]
    const text = `wrote ${what} (${run.id}) to ${where}\nrank ${lora.r} on ${[lora.targetModules].flat().join(', ')} of ${baseModel ?? 'a model without a name'}: ${parameters} parameters${several === null ? '' : ' each'}`
    return { data, text }
  },
})

type Files = ReadonlyMap<string, Uint8Array>

interface AdapterFiles {
  readonly client: string | null
  readonly config: PeftConfig
  readonly parameters: number
  readonly files: Files
}

/** The files as they are, checked to be whole. */
async function readAdapterFiles({ folder, client }: RunAdapter): Promise<AdapterFiles> {
  const configFile = join(folder, CONFIG)
  const config = parsePeftConfig(await requiredJson(configFile, MAX_CONFIG_BYTES, 'ADAPTER_NOT_FOUND', 'ADAPTER_CORRUPT'), configFile)
  const weights = await requiredFile(join(folder, WEIGHTS))
  const { tensors } = parseSafetensors(weights, { name: join(folder, WEIGHTS), code: 'ADAPTER_CORRUPT' })
  const card = await readFile(join(folder, CARD)).catch(() => null)
  return {
    client,
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

/** A new folder appears whole; an adapter that is there already is replaced file by file. */
async function writeAdapterFiles(target: string, files: Files): Promise<void> {
  if (isAdapter(target)) return replaceFiles(target, files)
  await writeNewFolder(target, (temporary) => writeFiles(temporary, files))
}

/** The same for several, each in a folder of its name; where there are some already, the others among them stay. */
async function writeSeveral(target: string, adapters: ReadonlyMap<string, Files>): Promise<void> {
  if (namedAdapters(target).length > 0) {
    for (const [name, files] of adapters) await writeAdapterFiles(join(target, name), files)
    return
  }
  await writeNewFolder(target, async (temporary) => {
    for (const [name, files] of adapters) {
      await mkdir(join(temporary, name))
      await writeFiles(join(temporary, name), files)
    }
  })
}

async function replaceFiles(target: string, files: Files): Promise<void> {
  try {
    await writeFiles(target, files)
  } catch (error) {
    throw asOutputError(target, error)
  }
}

async function writeFiles(folder: string, files: Files): Promise<void> {
  for (const [name, bytes] of files) await writeAtomically(join(folder, name), (handle) => handle.writeFile(bytes))
}
