/**
 * @file Transfers between real processes: large files over connections that break, and other ends that read slowly or not at all, whom no memory is filled for.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { describe, expect, test } from 'vitest'
import { MEMORY_IS_TOLD, ownBytes, watchMemory } from '../testing/process-memory.js'
import { type Program } from '../testing/program.js'
import { writeLargeModel, writeRandomModel } from '../testing/random-model.js'
import { tcpProxy } from '../testing/tcp-proxy.js'
import { programWorkshop } from '../testing/program-workshop.js'

const { workshop, programs } = programWorkshop('test')

function start(args: readonly string[], environment: NodeJS.ProcessEnv = workshop.environment): Program {
  return programs.start(args, { cwd: workshop.folder, env: environment })
}

const MEGABYTE = 1e6
const eventsOf = ({ lines }: Program, fields: Readonly<Record<string, unknown>>): number =>
  lines.filter((line) => Object.entries(fields).every(([key, value]) => line[key] === value)).length

test('a block of 300 MB over a link that breaks five times, to a client that stands still for a while, arrives whole, and nothing is sent twice', async () => {
  await writeLargeModel(workshop.at('large'))
  const config = await workshop.config('large.yaml', {
    model: { model_name_or_path: 'large', engine: 'reference' },
    split: { cut_layer: 1 },
    federation: { num_rounds: 1, num_clients: 1, local_steps: 1, reconnect_s: 60 },
  })
  const server = start(['server', config, '--port', '0'])
  const proxy = await tcpProxy(Number(new URL(String((await server.line({ event: 'listening' })).url)).port))
  try {
    const empty = { ...workshop.environment, CUTLAYER_CACHE: workshop.at('fetched') }
    const args = ['client', '--server', `http://127.0.0.1:${proxy.port}`, '--id', 'ada', '--data', 'rows.jsonl', '--engine', 'reference']
    const client = start(args, empty)
    await client.line({ event: 'fetch', file: 'block-0.bin' })
    const memory = watchMemory({ server: server.child.pid!, client: client.child.pid! })
    for (let cut = 1; cut <= 5; cut++) {
      proxy.cutAfterDown(45 * MEGABYTE)
      await expect.poll(() => eventsOf(client, { event: 'connection', state: 'reconnecting' }), { timeout: 60_000 }).toBe(cut)
    }
    client.child.kill('SIGSTOP')
    // Until the server has nothing more to send to one that does not read.
    let before = -1
    await expect.poll(() => before === (before = proxy.bytes.down), { interval: 500, timeout: 30_000 }).toBe(true)
    client.child.kill('SIGCONT')
    await client.line({ event: 'ready' })
    memory.end()
    const [theirs, ours] = await Promise.all([blockIn(workshop.at('cache')), blockIn(workshop.at('fetched'))])
    expect(ours.bytes).toBeGreaterThan(300 * MEGABYTE)
    expect(ours).toEqual(theirs)
    expect(proxy.bytes.down).toBeLessThan(1.2 * ours.bytes)
    expect(proxy.connections()).toBe(6)
    if (MEMORY_IS_TOLD) for (const [name, most] of memory.most) expect(most, name).toBeLessThan(250 * MEGABYTE)
  } finally {
    await proxy.close()
  }
}, 120_000)

/** The size and the digest of the one block that a cache holds. */
async function blockIn(cache: string): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const [folder] = await readdir(join(cache, 'weights'))
  const path = join(cache, 'weights', folder, 'block-0.bin')
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return { bytes: (await stat(path)).size, sha256: hash.digest('hex') }
}

describe.runIf(MEMORY_IS_TOLD)('no memory is filled', () => {
  test('for a client that stands still while round after round begins without it', async () => {
    await writeRandomModel(workshop.at('random'))
    const config = await workshop.config('still.yaml', {
      model: { model_name_or_path: 'random', threads: 1 },
      split: { cut_layer: 1 },
      lora: { r: 128, target_modules: 'all-linear' },
      federation: { num_rounds: 1000, num_clients: 2, local_steps: 1, reconnect_s: 600, round_deadline_s: 0.5 },
      eval: { every_rounds: 1000 },
    })
    const server = start(['server', config, '--port', '0'])
    const { url } = await server.line({ event: 'listening' })
    const join = (id: string): Program => start(['client', '--server', String(url), '--id', id, '--model', 'random', '--threads', '1'])
    const [still] = [join('still'), join('busy')]
    await still.line({ event: 'round-start', round: 2 })
    still.child.kill('SIGSTOP')
    await server.line({ event: 'missing', client: 'still', round: 6 })
    const early = ownBytes(server.child.pid!)!
    await server.line({ event: 'missing', client: 'still', round: 30 })
    // Each of these 24 rounds has 2 MB of adapter and 4 MB of moments for every client, as messages and once more as they are packed.
    expect(ownBytes(server.child.pid!)! - early).toBeLessThan(180 * MEGABYTE)
    expect(eventsOf(server, { event: 'leave' })).toBe(0)
    // It takes in what waited for it, and is back.
    const begun = eventsOf(still, { event: 'round-start' })
    still.child.kill('SIGCONT')
    await expect.poll(() => eventsOf(still, { event: 'round-end' }), { timeout: 30_000 }).toBeGreaterThan(begun)
  }, 120_000)

  test('by a client whose server stands still, and which goes on with it', async () => {
    const config = await workshop.config('halt.yaml', {
      split: { topology: 'federated', cut_layer: undefined },
      model: { model_name_or_path: 'model', engine: 'reference' },
      federation: { num_rounds: 1, num_clients: 1, local_steps: 500, reconnect_s: 600 },
    })
    const server = start(['server', config, '--port', '0'])
    const { url } = await server.line({ event: 'listening' })
    const client = start(['client', '--server', String(url), '--id', 'ada', '--model', 'model', '--engine', 'reference'])
    await client.line({ event: 'step', step: 100 })
    server.child.kill('SIGSTOP')
    const early = ownBytes(client.child.pid!)!
    await client.line({ event: 'step', step: 499 })
    expect(ownBytes(client.child.pid!)! - early).toBeLessThan(75 * MEGABYTE)
    server.child.kill('SIGCONT')
    for (const { ended } of [client, server]) expect(await ended).toMatchObject({ status: 0 })
  }, 120_000)
})
