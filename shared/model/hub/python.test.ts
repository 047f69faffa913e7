/** @file The cache is shared with Hugging Face's Python packages: what one of the two fetched, the other reads. Left out where they are not installed. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openModel } from '../model.node.js'
import { goldenFile } from '../testing/golden.js'
import { modelOf, startHub, type HubServer } from '../testing/hub-server.node.js'

const ID = 'acme/tiny'
const NOT_INSTALLED = 77

let home: string
let hub: HubServer
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'cutlayer-python-'))
  process.env.CUTLAYER_CACHE = join(home, 'cache')
  const folder = goldenFile('gpt2', 'model')
  const names = await readdir(folder)
  hub = await startHub({
    [ID]: modelOf(Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))])))),
  })
})
afterEach(async () => {
  await hub.close()
  await rm(home, { recursive: true, force: true })
})

interface Told {
  readonly folder: string
  readonly layers: number
  readonly parameters: number
}

/** null, with the reason printed, where its packages are not installed. */
async function python(what: 'fill' | 'read', environment: NodeJS.ProcessEnv): Promise<Told | null> {
  const script = fileURLToPath(new URL('../testing/hub_check.py', import.meta.url))
  const child = spawn('python3', [script, what, ID], { env: { ...process.env, ...environment } })
  const status = new Promise<number | null>((done) => child.on('error', () => done(null)).on('close', done))
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), status])
  if (code === null || code === NOT_INSTALLED) {
    console.log(`skipped: ${code === null ? 'python3 cannot be run here' : stderr.trim()}`)
    return null
  }
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Told
}

test('what was fetched here transformers loads without a hub', async () => {
  const { architecture, parameters, folder } = await openModel(ID, { hub: { environment: { HF_HOME: home, HF_ENDPOINT: hub.endpoint } } })
  const told = await python('read', { HF_HOME: home, HF_HUB_OFFLINE: '1' })
  if (told) expect(told).toEqual({ folder, layers: architecture.layers, parameters })
}, 300_000)

test('what huggingface_hub fetched is opened here without a hub', async () => {
  const told = await python('fill', { HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '' })
  if (!told) return
  hub.requests.length = 0
  const model = await openModel(ID, { hub: { environment: { HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '1' } } })
  expect([model.folder, model.parameters]).toEqual([told.folder, told.parameters])
  expect(hub.requests).toEqual([])
}, 300_000)
