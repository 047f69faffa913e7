import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { findNative } from '../../shared/backend/tfjs/kinds.node.js'
import { typeForScript } from '../testing/type.js'
import { engineInstallCommand } from './command.js'

const install = (...args: string[]) => typeForScript<Record<string, unknown>>([engineInstallCommand], 'engine', 'install', ...args)

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-engine-'))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

test.each([
  ['onnx', 'it came with cutlayer'],
  ['torch', 'there is no engine called torch'],
])('there is nothing to install for %s', async (engine, why) => {
  expect((await install(engine)).error).toMatchObject({ code: 'BAD_ARGUMENT', why, fix: expect.stringContaining('tfjs') as string })
})

test.skipIf(process.platform !== 'linux' || process.arch !== 'x64')(
  'a step that fails is told in its own words, and nothing of the installation stays',
  async () => {
    await mkdir(join(folder, 'bin'))
    const npm = join(folder, 'bin', 'npm')
    await writeFile(npm, '#!/bin/sh\necho "no such registry" >&2\nexit 7\n')
    await chmod(npm, 0o755)
    vi.stubEnv('PATH', `${join(folder, 'bin')}:/bin:/usr/bin`)
    vi.stubEnv('CUTLAYER_ENGINES', join(folder, 'engines'))
    const { error, exit_code } = await install('tfjs', '--force')
    expect(error).toMatchObject({ code: 'ENGINE_UNAVAILABLE', why: 'npm ended with 7: no such registry' })
    expect(exit_code).toBe(530)
    expect(await readdir(join(folder, 'engines'))).toEqual([])
    vi.stubEnv('PATH', join(folder, 'nowhere'))
    expect((await install('tfjs', '--force')).error).toMatchObject({ code: 'ENGINE_UNAVAILABLE', fix: 'install npm' })
  },
)

test.skipIf(findNative(process.env) === null)('what is there is not installed again', async () => {
  const { data } = await install('tfjs')
  expect(data).toMatchObject({ installed: false, versions: { '@tensorflow/tfjs-node-gpu': '4.22.0' } })
})
