import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createRunDirectory } from '../server/run-directory.js'
import { Config } from '../shared/config/schema.js'
import { goldenFile } from '../shared/model/testing/golden.js'
import { exportCommand } from './export.js'
import { typeCommand, typeForScript } from './testing/type.js'

const FILES = ['adapter_config.json', 'adapter_model.safetensors']

let folder: string
const at = (...parts: string[]): string => join(folder, ...parts)
let run: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-export-'))
  const model = { name: 'tiny', digest: 'abc', family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }
  const directory = createRunDirectory({
    outputDir: at('runs'),
    name: 'exp',
    id: 'aaaa',
    config: Config.parse({}),
    metadata: { argv: [], model },
  })
  directory.close()
  run = directory.folder
})
afterEach(() => rm(folder, { recursive: true }))

const giveAdapter = (name: 'adapter' | 'adapter-best', golden: string, client = '') =>
  cp(goldenFile(golden, 'adapter'), join(run, name, client), { recursive: true })
const exportTo = (target: string, ...flags: string[]) =>
  typeForScript<{ adapter_dir: string; which: string; parameters: number; client_adapter_dirs?: Record<string, string> }>(
    [exportCommand],
    'export',
    'aaaa',
    target,
    ...flags,
    '--output-dir',
    at('runs'),
  )
const sameAs = async (target: string, golden: string): Promise<void> => {
  for (const file of FILES) expect(await readFile(join(target, file)), file).toEqual(await readFile(goldenFile(golden, 'adapter', file)))
}

test('the last adapter is written to a new folder, byte for byte, with whatever folders it lies in', async () => {
  await giveAdapter('adapter', 'gpt2')
  const { data } = await exportTo(at('new', 'adapter'))
  expect(data).toMatchObject({ adapter_dir: at('new', 'adapter'), which: 'last' })
  expect(data.parameters).toBeGreaterThan(0)
  await sameAs(at('new', 'adapter'), 'gpt2')
  expect(await readdir(at('new')), 'nothing temporary stays').toEqual(['adapter'])
})

test('--best takes the best one, and another adapter is replaced by it', async () => {
  await giveAdapter('adapter', 'gpt2')
  await giveAdapter('adapter-best', 'gpt2-all-linear')
  await exportTo(at('out'))
  await writeFile(at('out', 'notes.txt'), 'mine')
  expect((await exportTo(at('out'), '--best')).data.which).toBe('best')
  await sameAs(at('out'), 'gpt2-all-linear')
  expect(await readFile(at('out', 'notes.txt'), 'utf8'), 'other files stay').toBe('mine')
})

test('a person is told what was written', async () => {
  await giveAdapter('adapter', 'gpt2')
  const { stdout } = await typeCommand([exportCommand], 'export', run, at('out'))
  expect(stdout).toMatch(/^wrote the last adapter of exp \(aaaa\) to .*out\nrank \d+ on c_attn of .*: \d+ parameters\n$/)
})

describe('of a run in which each client has its own adapter', () => {
  beforeEach(async () => {
    await giveAdapter('adapter', 'gpt2', 'ada')
    await giveAdapter('adapter', 'gpt2-all-linear', 'bob')
  })

  test('all are written, each to a folder of its name, and again in place of those', async () => {
    const { data } = await exportTo(at('out'))
    expect(data).toMatchObject({ adapter_dir: at('out'), client_adapter_dirs: { ada: at('out', 'ada'), bob: at('out', 'bob') } })
    expect((await readdir(at('out'))).sort()).toEqual(['ada', 'bob'])
    await rm(at('out', 'ada'), { recursive: true })
    await exportTo(at('out'))
    await sameAs(at('out', 'ada'), 'gpt2')
    await sameAs(at('out', 'bob'), 'gpt2-all-linear')
    expect((await readdir(folder)).sort(), 'nothing temporary stays').toEqual(['out', 'runs'])
  })

  test('--client takes that one alone', async () => {
    const { data } = await exportTo(at('out'), '--client', 'bob')
    expect(data.client_adapter_dirs).toBeUndefined()
    await sameAs(at('out'), 'gpt2-all-linear')
  })

  test('a client that is not there is refused, and so is an adapter in the way, whole or cut off', async () => {
    expect((await exportTo(at('out'), '--client', 'eve')).error).toMatchObject({
      code: 'BAD_ARGUMENT',
      why: 'each of ada, bob has its own',
      fix: 'correct --client',
    })
    await rm(join(run, 'adapter', 'bob', 'adapter_model.safetensors'))
    expect((await exportTo(at('out'))).error).toMatchObject({ code: 'ADAPTER_NOT_FOUND' })
    expect(await readdir(folder), 'nothing is written').toEqual(['runs'])
    await exportTo(at('out'), '--client', 'ada')
    await giveAdapter('adapter', 'gpt2', 'bob')
    expect((await exportTo(at('out'))).error).toMatchObject({ code: 'BAD_ARGUMENT' })
  })

  test('--best asks for the best ones', async () => {
    expect((await exportTo(at('out'), '--best')).error).toMatchObject({
      code: 'ADAPTER_NOT_FOUND',
      fix: expect.stringContaining('leave out --best') as string,
    })
    await giveAdapter('adapter-best', 'gpt2', 'ada')
    expect(Object.keys((await exportTo(at('out'), '--best')).data.client_adapter_dirs!)).toEqual(['ada'])
  })
})

describe('refused, and nothing is written:', () => {
  const refused = async (target: string, code: string, ...flags: string[]): Promise<string> => {
    const { error } = await exportTo(target, ...flags)
    expect(error).toMatchObject({ code })
    return `${error!.why}; ${error!.fix}`
  }

  test('a client of a run whose clients share one adapter', async () => {
    await giveAdapter('adapter', 'gpt2')
    expect(await refused(at('out'), 'BAD_ARGUMENT', '--client', 'ada')).toContain('leave out --client')
  })

  test('a run without an adapter, or without the one that is asked for', async () => {
    expect(await refused(at('out'), 'ADAPTER_NOT_FOUND')).toContain('let the run finish a round')
    await giveAdapter('adapter', 'gpt2')
    expect(await refused(at('out'), 'ADAPTER_NOT_FOUND', '--best')).toContain('leave out --best')
    expect(await readdir(folder)).toEqual(['runs'])
  })

  test('a folder that holds something else', async () => {
    await giveAdapter('adapter', 'gpt2')
    await mkdir(at('photos'))
    await writeFile(at('photos', 'cat.jpg'), '')
    expect(await refused(at('photos'), 'BAD_ARGUMENT')).toContain('cat.jpg')
    expect(await refused(at('photos', 'cat.jpg'), 'BAD_ARGUMENT')).toContain('a file is in its place')
    expect(await readdir(at('photos'))).toEqual(['cat.jpg'])
  })

  test('a folder inside a file', async () => {
    await giveAdapter('adapter', 'gpt2')
    await writeFile(at('file'), '')
    expect(await refused(at('file', 'out'), 'OUTPUT_UNWRITABLE')).toContain('name another folder')
  })

  test('an adapter that was cut off', async () => {
    await giveAdapter('adapter', 'gpt2')
    const weights = join(run, 'adapter', 'adapter_model.safetensors')
    await writeFile(weights, (await readFile(weights)).subarray(0, 1000))
    await refused(at('out'), 'ADAPTER_CORRUPT')
    await rm(weights)
    await refused(at('out'), 'ADAPTER_NOT_FOUND')
    expect(await readdir(folder)).toEqual(['runs'])
  })
})
