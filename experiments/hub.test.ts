/**
 * @file Models and adapters by hub id, as typed: against a hub on this machine, over real sockets.
 */
import { existsSync } from 'node:fs'
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { goldenFile } from '../shared/model/testing/golden.js'
import { modelOf, revisionOf, startHub, type HubServer } from '../shared/model/testing/hub-server.node.js'
import { commands } from './command.js'
import { goldenRows } from './testing/golden-model.js'
import { startProgram } from './testing/program.js'
import { typeForScript } from './testing/type.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

const ID = 'acme/tiny'
const home = process.cwd()
let workshop: Workshop
let hub: HubServer
let environment: Record<string, string>

beforeAll(async () => {
  workshop = await openWorkshop()
  process.chdir(workshop.folder)
  await writeFile(workshop.at('golden.jsonl'), goldenRows('gpt2'))
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})
beforeEach(async () => {
  hub = await startHub({
    [ID]: modelOf(await filesOf(workshop.at('model'))),
    'acme/adapter': modelOf(await filesOf(goldenFile('gpt2', 'adapter'))),
  })
  environment = {
    HF_HOME: workshop.at(`hf-${Math.random()}`),
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_OFFLINE: '',
    CUTLAYER_CACHE: workshop.at('cache'),
  }
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
})

async function filesOf(folder: string): Promise<Record<string, Buffer>> {
  const names = await readdir(folder)
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)))
}

const evaluate = (...args: string[]) =>
  typeForScript<{ loss: number }>(commands, 'eval', '--data', 'golden.jsonl', '--engine', 'reference', ...args)
const fromCdn = () => hub.requests.filter(({ host }) => host === 'cdn')

describe('a hub id', () => {
  test('gives the numbers of the folder that it was made of, from the hub and then from the cache', async () => {
    const { loss } = (await evaluate('--model', './model')).data
    expect(hub.requests).toEqual([])
    expect((await evaluate('--model', ID)).data.loss).toBe(loss)
    expect(fromCdn()).toHaveLength(1)
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    expect((await evaluate('--model', ID)).data.loss).toBe(loss)
    expect(fromCdn()).toHaveLength(1)
  })

  test('names an adapter too', async () => {
    const { loss } = (await evaluate('--model', './model', '--adapter', goldenFile('gpt2', 'adapter'))).data
    expect((await evaluate('--model', ID, '--adapter', 'acme/adapter')).data.loss).toBe(loss)
    const { error } = await evaluate('--model', ID, '--adapter', 'acme/nothing')
    expect(error).toMatchObject({ code: 'ADAPTER_NOT_FOUND', what: 'there is no adapter acme/nothing' })
  })

  test('is a folder where there is a folder of that name', async () => {
    await cp(workshop.at('model'), workshop.at('acme/tiny'), { recursive: true })
    try {
      expect((await evaluate('--model', ID)).error).toBeUndefined()
      expect(hub.requests).toEqual([])
    } finally {
      await rm(workshop.at('acme'), { recursive: true })
    }
  })

  test('may have a revision', async () => {
    const files = await filesOf(workshop.at('model'))
    hub.models.get(ID)!.revisions.broken = revisionOf({ ...files, 'config.json': '{"model_type":"mystery"}' })
    expect((await evaluate('--model', ID, '--revision', 'broken')).error).toMatchObject({ code: 'MODEL_UNSUPPORTED' })
    expect((await evaluate('--model', ID, '--revision', 'v9')).error).toMatchObject({ code: 'MODEL_NOT_FOUND' })
    expect((await evaluate('--model', './model', '--revision', 'v9')).error).toMatchObject({ code: 'CONFIG_VALUE' })
  })

  test('is checked and planned with before its weights are downloaded', async () => {
    const config = await workshop.config('hub.yaml', { model: { model_name_or_path: ID, engine: 'reference' } })
    expect((await typeForScript(commands, 'validate', config)).error).toBeUndefined()
    expect((await typeForScript(commands, 'plan', config)).error).toBeUndefined()
    expect(fromCdn()).toEqual([])
  })

  test.each([
    [['acme/nothing'], 'MODEL_NOT_FOUND', 4],
    [['nothing'], 'MODEL_NOT_FOUND', 4],
    [['acme/tiny/deeper'], 'MODEL_NOT_FOUND', 4],
    [['acme/-tiny'], 'MODEL_NOT_FOUND', 4],
    [['./nothing'], 'MODEL_NOT_FOUND', 4],
  ])('%j that is no model is refused', async ([name], code, digit) => {
    const { error, exit_code: exitCode } = await evaluate('--model', name)
    expect(error).toMatchObject({ code })
    expect(Math.floor(exitCode / 100)).toBe(digit)
  })

  test('of a model that is only a PyTorch pickle is refused by name', async () => {
    const { 'model.safetensors': weights, ...files } = await filesOf(workshop.at('model'))
    hub.models.set('acme/old', modelOf({ ...files, 'pytorch_model.bin': weights }))
    const { error } = await evaluate('--model', 'acme/old')
    expect(error).toMatchObject({ code: 'MODEL_UNSUPPORTED', why: expect.stringContaining('pytorch_model.bin') as string })
    expect(fromCdn()).toEqual([])
  })
})

describe('a run by hub id', () => {
  test('trains as with the folder, keeps to the commit, and says so in config and adapter', async () => {
    const run = async (model: string): Promise<string> => {
      const config = await workshop.config('run.yaml', {
        model: { model_name_or_path: model, engine: 'reference' },
        federation: { num_rounds: 1 },
      })
      const program = startProgram(['run', config], { cwd: workshop.folder, env: { ...workshop.environment, ...environment } })
      const { envelope } = await program.ended
      expect(envelope.error).toBeUndefined()
      return (envelope.data as { run_dir: string }).run_dir
    }
    const [byFolder, byId] = [await run('./model'), await run(ID)]
    const weights = join('adapter', 'adapter_model.safetensors')
    expect(await readFile(join(byId, weights))).toEqual(await readFile(join(byFolder, weights)))
    const { commit } = hub.models.get(ID)!.revisions.main
    const config = parse(await readFile(join(byId, 'config.yaml'), 'utf8')) as { model: unknown }
    expect(config.model).toMatchObject({ model_name_or_path: ID, revision: commit })
    const adapter = JSON.parse(await readFile(join(byId, 'adapter', 'adapter_config.json'), 'utf8')) as unknown
    expect(adapter).toMatchObject({ base_model_name_or_path: ID, revision: commit })
    const logs = await Promise.all((await readdir(join(byId, 'logs'))).map((name) => readFile(join(byId, 'logs', name), 'utf8')))
    expect(logs.join('')).not.toContain(environment.HF_HOME)
  }, 180_000)

  test('has clients that download their own blocks and nothing else', async () => {
    const config = await workshop.config('alone.yaml', {
      model: { model_name_or_path: './model', engine: 'reference' },
      split: { cut_layer: 1 },
      federation: { num_clients: 1, num_rounds: 1 },
    })
    const server = startProgram(['server', config, '--port', '0'], { cwd: workshop.folder, env: workshop.environment })
    const { url } = (await server.line({ event: 'listening' })) as unknown as { url: string }
    const cache = workshop.at('cache-of-client')
    const client = startProgram(['client', '--server', url, '--id', 'ada', '--model', ID, '--engine', 'reference'], {
      cwd: workshop.folder,
      env: { ...workshop.environment, ...environment, CUTLAYER_CACHE: cache },
    })
    expect((await client.ended).envelope.error).toBeUndefined()
    expect((await server.ended).envelope.error).toBeUndefined()
    const size = hub.models.get(ID)!.revisions.main.files.get('model.safetensors')!.length
    const bytes = fromCdn().reduce((sum, request) => sum + request.bytes, 0)
    expect(bytes).toBeGreaterThan(0)
    expect(bytes).toBeLessThan(0.7 * size)
    expect(existsSync(join(environment.HF_HOME!, 'hub', 'models--acme--tiny', 'snapshots'))).toBe(true)
    const parts = join(cache, 'parts', 'acme--tiny', hub.models.get(ID)!.revisions.main.commit)
    expect((await readdir(parts)).sort()).toEqual([
      'block-0.safetensors',
      'config.json',
      'embedding.safetensors',
      'generation_config.json',
      'model.safetensors.index.json',
    ])
  }, 180_000)
})
