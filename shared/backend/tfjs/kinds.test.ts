import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { enginesFolder, findTfjs, nativeFolder, tfjsVersions } from './kinds.node.js'

let engines: string
beforeEach(async () => {
  engines = await mkdtemp(join(tmpdir(), 'cutlayer-engines-'))
})
afterEach(() => rm(engines, { recursive: true }))

/** What an installation leaves, as far as it is looked at. */
async function install(...parts: readonly (readonly [folder: string, file: string])[]): Promise<void> {
  const home = join(nativeFolder(engines), 'node_modules', '@tensorflow', 'tfjs-node-gpu')
  await mkdir(home, { recursive: true })
  await writeFile(join(nativeFolder(engines), 'package.json'), '{}')
  await writeFile(join(home, 'package.json'), '{"name": "@tensorflow/tfjs-node-gpu", "version": "4.22.0"}')
  for (const [folder, file] of parts) {
    await mkdir(join(home, folder), { recursive: true })
    await writeFile(join(home, folder, file), '')
  }
}

const BINDING = ['lib/napi-v8', 'tfjs_binding.node'] as const
const LIBRARY = ['deps/lib', 'libtensorflow.so'] as const

test('the native TensorFlow.js is taken where its binding and its library are both there', async () => {
  await install(BINDING, LIBRARY)
  const found = findTfjs({ CUTLAYER_ENGINES: engines })
  expect(found).toEqual({ kind: 'native', from: join(nativeFolder(engines), 'package.json') })
  expect(tfjsVersions(found)).toEqual({ '@tensorflow/tfjs-node-gpu': '4.22.0' })
})

test.each([
  ['the package alone', []],
  ['no library', [BINDING]],
  ['no binding', [LIBRARY]],
])('without it, %s, WASM computes', async (_, parts) => {
  await install(...parts)
  const found = findTfjs({ CUTLAYER_ENGINES: engines })
  expect(found.kind).toBe('wasm')
  expect(Object.keys(tfjsVersions(found))).toEqual(['@tensorflow/tfjs-backend-wasm'])
})

test('one is asked for by name, and refused by name', async () => {
  const environment = { CUTLAYER_ENGINES: engines }
  expect(() => findTfjs({ ...environment, CUTLAYER_TFJS: 'native' })).toThrow(expect.objectContaining({ code: 'ENGINE_UNAVAILABLE' }))
  expect(() => findTfjs({ ...environment, CUTLAYER_TFJS: 'webgl' })).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }))
  await install(BINDING, LIBRARY)
  for (const kind of ['native', 'wasm', 'cpu'] as const) expect(findTfjs({ ...environment, CUTLAYER_TFJS: kind }).kind).toBe(kind)
})

test('engines are installed in a folder of the cache, or wherever CUTLAYER_ENGINES says', () => {
  expect(enginesFolder({ CUTLAYER_CACHE: engines })).toBe(join(engines, 'engines'))
  expect(enginesFolder({ CUTLAYER_CACHE: engines, CUTLAYER_ENGINES: '/elsewhere' })).toBe('/elsewhere')
})
