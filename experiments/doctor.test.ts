import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openModel } from '../shared/model/model.node.js'
import { cacheFinding, hubFinding, type Finding } from './doctor-findings.js'
import { doctorCommand, memoryFinding, nodeFinding } from './doctor.js'
import { typeCommand, typeForScript } from './testing/type.js'

let folder: string
let cacheBefore: string | undefined
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-doctor-'))
  cacheBefore = process.env.CUTLAYER_CACHE
  process.env.CUTLAYER_CACHE = join(folder, 'cache')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  if (cacheBefore === undefined) delete process.env.CUTLAYER_CACHE
  else process.env.CUTLAYER_CACHE = cacheBefore
  await rm(folder, { recursive: true })
})

interface Diagnosis {
  readonly is_ready: boolean
  readonly findings: readonly Finding[]
}

test('a machine that the tests run on has all that is needed, and each thing is found by name', async () => {
  const { data, exit_code } = await typeForScript<Diagnosis>([doctorCommand], 'doctor')
  expect(exit_code).toBe(0)
  expect(data.is_ready).toBe(true)
  const found = new Map(data.findings.map((finding) => [finding.what, finding]))
  expect([...found.keys()]).toEqual([
    'node',
    'processor',
    'memory',
    'engine onnx',
    'engine tfjs',
    'engine reference',
    'cache',
    'hub',
    'shipped model',
  ])
  expect(found.get('engine onnx')!.facts).toMatchObject({ version: expect.stringMatching(/^1\.\d+\.\d+/) as string })
  expect(found.get('engine tfjs')).toMatchObject({ status: 'ok', facts: { first_run_ms: expect.any(Number) as number } })
  expect(found.get('shipped model')!.facts).toMatchObject({ digest: (await openModel(null)).digest.model })
})

test.each([
  ['wasm', 'wasm: @tensorflow/tfjs-backend-wasm 4', 'cutlayer engine install tfjs'],
  ['cpu', 'cpu: @tensorflow/tfjs-backend-cpu 4', 'WASM'],
])('tells which TensorFlow.js computes, %s, and how to get a better one', async (kind, details, fix) => {
  vi.stubEnv('CUTLAYER_TFJS', kind)
  const { data } = await typeForScript<Diagnosis>([doctorCommand], 'doctor')
  const finding = data.findings.find(({ what }) => what === 'engine tfjs')
  expect(finding).toMatchObject({ status: 'ok', facts: { kind }, fix: expect.stringContaining(fix) as string })
  expect(finding!.details).toContain(details)
})

test('a TensorFlow.js that is asked for and not there is told with how to get it', async () => {
  vi.stubEnv('CUTLAYER_TFJS', 'native')
  vi.stubEnv('CUTLAYER_ENGINES', folder)
  const { data } = await typeForScript<Diagnosis>([doctorCommand], 'doctor')
  expect(data.findings.find(({ what }) => what === 'engine tfjs')).toMatchObject({
    status: 'absent',
    fix: expect.stringContaining('cutlayer engine install tfjs') as string,
  })
})

test('the hub is told with its cache, endpoint and whether there is a token, which is not shown', async () => {
  const environment = { HF_HOME: folder, HF_ENDPOINT: 'https://mirror.test/', HF_TOKEN: 'hf_secret' }
  const finding = await hubFinding(environment)
  expect(finding).toMatchObject({
    status: 'ok',
    details: `${join(folder, 'hub')}, made when it is needed; https://mirror.test, with a token`,
    facts: { folder: join(folder, 'hub'), endpoint: 'https://mirror.test', offline: false, token: true },
  })
  expect(JSON.stringify(finding)).not.toContain('hf_secret')
  expect((await hubFinding({ ...environment, HF_HUB_OFFLINE: 'yes' })).details).toContain('no host is asked')
  expect(await hubFinding({ HF_ENDPOINT: 'nonsense' })).toMatchObject({ status: 'absent' })
})

test('what is missing is told with its fix, and the status stays 0', async () => {
  process.env.CUTLAYER_CACHE = join(folder, 'file')
  await writeFile(join(folder, 'file'), '')
  const { status, stdout } = await typeCommand([doctorCommand], 'doctor')
  expect(status).toBe(0)
  expect(stdout).toContain('1 of what is needed is missing:\n')
  expect(stdout).toMatch(/^cache: make it writable, or set CUTLAYER_CACHE/m)
})

test.each([
  ['20.11.1', 'missing'],
  ['20.12.0', 'ok'],
  ['22.0.0', 'ok'],
  ['18.20.0', 'missing'],
])('Node %s is %s', (version, status) => {
  expect(nodeFinding(version).status).toBe(status)
})

test('a machine with little memory is told what to do with it', () => {
  expect(memoryFinding(2 ** 29, 2 ** 28)).toMatchObject({ status: 'missing', fix: expect.stringContaining('num_clients') as string })
  expect(memoryFinding(2 ** 33, 0)).toMatchObject({ status: 'ok', fix: null })
})

describe('the cache folder', () => {
  const look = (cache: string): Promise<Finding> => cacheFinding({ CUTLAYER_CACHE: cache })

  test('is measured, and nothing stays of the file that was tried', async () => {
    const cache = join(folder, 'cache')
    await mkdir(join(cache, 'weights'), { recursive: true })
    await writeFile(join(cache, 'weights', 'a.bin'), new Uint8Array(1000))
    await writeFile(join(cache, 'b.bin'), new Uint8Array(24))
    expect((await look(cache)).facts).toEqual({ folder: cache, exists: true, writable: true, bytes: 1024 })
    expect((await readdir(cache)).sort()).toEqual(['b.bin', 'weights'])
  })

  test('is not made by looking for it', async () => {
    expect(await look(join(folder, 'not', 'yet'))).toMatchObject({ status: 'ok', facts: { exists: false, writable: true } })
    expect(await readdir(folder)).toEqual([])
  })

  test('cannot lie in a file', async () => {
    await writeFile(join(folder, 'file'), '')
    for (const cache of [join(folder, 'file'), join(folder, 'file', 'cache')])
      expect(await look(cache)).toMatchObject({ status: 'missing', facts: { writable: false } })
  })
})
