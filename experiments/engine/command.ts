/**
 * @file `cutlayer engine install`: gets what an engine needs beyond what cutlayer's own installation brings.
 */
import { rm } from 'node:fs/promises'
import { z } from 'zod'
import { tfjsVersions, nativeFolder, enginesFolder, findNative } from '../../shared/backend/tfjs/kinds.node.js'
import { defineCommand } from '../../shared/command-line/index.node.js'
import { UserError } from '../../shared/errors.js'
import { installTfjs } from './install-tfjs.js'
import { TENSORFLOW_VERSION, WHEELS } from './tensorflow-wheel.js'

export const engineInstallCommand = defineCommand({
  usage: 'engine install <engine>',
  summary: "get the native part of the engine tfjs: TensorFlow's library, from PyPI",
  example: 'cutlayer engine install tfjs\ncutlayer engine install tfjs --cuda --format json',
  flags: {
    '--cuda': `the build of TensorFlow that can use an NVIDIA GPU, whose driver and CUDA 12 libraries are not installed with it`,
    '--force': 'install anew what is there',
  },
  options: z.object({ cuda: z.boolean().default(false), force: z.boolean().default(false) }),
  async run(context, [engine], { cuda, force }) {
    if (engine !== 'tfjs') throw nothingToInstall(engine!)
    const folder = nativeFolder(enginesFolder(process.env))
    const found = findNative(process.env)
    const wheel = WHEELS[cuda ? 'cuda' : 'cpu']
    if (found !== null && !force) {
      const versions = tfjsVersions({ kind: 'native', from: found })
      const text = `the native TensorFlow.js is there (${found}); --force installs it anew`
      return { data: { engine, installed: false, folder: found, versions }, text }
    }
    if (force) await rm(folder, { recursive: true, force: true })
    const from = await installTfjs(folder, wheel, (step) => context.event({ event: 'step', step }, step))
    const versions = { ...tfjsVersions({ kind: 'native', from }), [wheel.name]: TENSORFLOW_VERSION }
    const said = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
    return { data: { engine, installed: true, folder, versions }, text: `installed ${said.join(' with ')} in ${folder}` }
  },
})

function nothingToInstall(engine: string): UserError {
  const isKnown = engine === 'onnx' || engine === 'reference'
  return new UserError({
    code: 'BAD_ARGUMENT',
    what: `there is nothing to install for the engine ${engine}`,
    why: isKnown ? 'it came with cutlayer' : `there is no engine called ${engine}`,
    fix: 'run `cutlayer doctor` for what is there, or `cutlayer engine install tfjs`',
  })
}
