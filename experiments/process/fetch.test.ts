/**
 * @file Clients that have nothing but this program: what they fetch from the server, and that they train as those that have the model.
 */
import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { type Program } from '../testing/program.js'
import { writeRandomModel } from '../testing/random-model.js'
import { tcpProxy } from '../testing/tcp-proxy.js'
import { ackFrameBytes } from '../../shared/protocol/frames.js'
import { programWorkshop } from '../testing/program-workshop.js'

// Two runs of processes in a test: it is not timed, this only ends one that hangs.
vi.setConfig({ testTimeout: 180_000 })

const { workshop, programs } = programWorkshop('test')

function start(args: readonly string[], environment: NodeJS.ProcessEnv = workshop.environment, cwd = workshop.folder): Program {
  return programs.start(args, { cwd, env: environment })
}

/** As on a machine that has never seen this program: an empty home, and a working folder with rows of its own alone. */
async function emptyMachine(name: string): Promise<{ home: string; environment: NodeJS.ProcessEnv }> {
  const home = workshop.at(name)
  await mkdir(home)
  const environment: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: home, TMPDIR: home, NO_COLOR: '1' }
  return { home, environment }
}

async function train(topology: string, engine: string, withModel: boolean): Promise<{ adapter: Buffer; traffic: string; home: string }> {
  const name = `${topology}-${engine}-${withModel}`
  const groups = { model: { model_name_or_path: 'model', engine }, split: { topology, cut_layer: 2 }, federation: { num_clients: 1 } }
  const server = start(['server', await workshop.config(`${name}.yaml`, groups), '--port', '0'])
  const [{ url }, { run_dir }] = [await server.line({ event: 'listening' }), await server.line({ event: 'start' })]
  const { home, environment } = await emptyMachine(name)
  const own = ['--data', workshop.at('rows.jsonl'), ...(withModel ? ['--model', workshop.at('model')] : [])]
  const client = start(
    ['client', '--server', String(url), '--id', 'client-0', '--engine', engine, '--threads', '1', ...own],
    environment,
    home,
  )
  expect(await client.ended).toMatchObject({ status: 0 })
  expect(await server.ended).toMatchObject({ status: 0 })
  const adapter = await readFile(join(String(run_dir), 'adapter', 'adapter_model.safetensors'))
  return { adapter, traffic: await readFile(join(String(run_dir), 'traffic.jsonl'), 'utf8'), home }
}

async function cached(home: string): Promise<string[]> {
  const weights = join(home, '.cache', 'cutlayer', 'weights')
  const [digest, ...others] = await readdir(weights)
  expect(others).toEqual([])
  return (await readdir(join(weights, digest))).filter((name) => name.endsWith('.bin')).sort()
}

test.each([
  ['split', 'onnx', ['block-0.bin', 'block-1.bin', 'embedding.bin']],
  ['split', 'reference', ['block-0.bin', 'block-1.bin', 'embedding.bin']],
  ['federated', 'onnx', ['block-0.bin', 'block-1.bin', 'block-2.bin', 'block-3.bin', 'embedding.bin', 'head.bin']],
])('a client with an empty home trains bit for bit as one with the model: %s, %s', async (topology, engine, files) => {
  const fetched = await train(topology, engine, false)
  const given = await train(topology, engine, true)
  expect(fetched.adapter).toEqual(given.adapter)
  expect(await cached(fetched.home)).toEqual(files)
  expect(given.traffic).not.toContain('"weights"')
  const lines = fetched.traffic.trimEnd().split('\n')
  const weights = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ kind }) => kind === 'weights')
  const down = weights.filter(({ direction }) => direction === 'down')
  expect(down).toMatchObject([{ round: 0, client: 'client-0' }])
})

/** A server of a model of 3 MB a block, from which a client fetches in pieces of 255 kB. */
async function serveRandom(name: string, port = '0'): Promise<{ server: Program; port: number; runDir: string }> {
  const config = await workshop.config(name, {
    model: { model_name_or_path: 'random', engine: 'reference' },
    split: { cut_layer: 1 },
    lora: { r: 1 },
    data: { max_length: 8 },
    federation: { num_clients: 1, num_rounds: 1, local_steps: 1 },
    transport: { max_inflight_bytes: 262144, max_chunk_bytes: 16384 },
  })
  const server = start(['server', config, '--port', port])
  const [{ url }, { run_dir }] = [await server.line({ event: 'listening' }), await server.line({ event: 'start' })]
  return { server, port: Number(new URL(String(url)).port), runDir: String(run_dir) }
}

async function incomplete(home: string): Promise<number[]> {
  const weights = join(home, '.cache', 'cutlayer', 'weights')
  const [digest] = await readdir(weights)
  const names = (await readdir(join(weights, digest))).filter((name) => name.endsWith('.incomplete'))
  return Promise.all(names.map(async (name) => (await stat(join(weights, digest, name))).size))
}

/** What acknowledges 2 MB in chunks of 16 kB: the first block is then on its way, and far from through. */
const MID_BLOCK_ACK_BYTES = 122 * ackFrameBytes({ message: 1, chunks: 1 }, 'client')

test('a client that is killed in mid-file goes on where it stopped, also with a server that was started again', async () => {
  await writeRandomModel(workshop.at('random'))
  const first = await serveRandom('first.yaml')
  const { home, environment } = await emptyMachine('killed')
  const join = (port: number): Program => {
    const args = [
      'client',
      '--server',
      `http://127.0.0.1:${port}`,
      '--id',
      'ada',
      '--engine',
      'reference',
      '--data',
      workshop.at('rows.jsonl'),
    ]
    return start(args, environment, home)
  }
  const proxy = await tcpProxy(first.port)
  const victim = join(proxy.port)
  await victim.line({ event: 'fetch', file: 'block-0.bin' })
  await proxy.passed(MID_BLOCK_ACK_BYTES)
  proxy.shut()
  victim.child.kill('SIGKILL')
  await victim.ended
  await proxy.close()
  first.server.child.kill('SIGKILL')
  await first.server.ended
  const [held] = await incomplete(home)
  expect(held).toBeGreaterThan(0)

  const second = await serveRandom('second.yaml')
  const heir = join(second.port)
  // Of this file nothing is asked for again, but for what was on its way.
  expect(await heir.line({ event: 'fetch', file: 'block-0.bin' })).toMatchObject({ done_bytes: held })
  expect(await heir.ended).toMatchObject({ status: 0 })
  expect(await second.server.ended).toMatchObject({ status: 0 })
  expect(await incomplete(home)).toEqual([])
  expect(await cached(home)).toEqual(['block-0.bin', 'embedding.bin'])
})

test('a connection that breaks in mid-file is mended, and nothing is fetched twice', async () => {
  await writeRandomModel(workshop.at('random'))
  const { server, port, runDir } = await serveRandom('broken.yaml')
  const { home, environment } = await emptyMachine('broken')
  const proxy = await tcpProxy(port)
  try {
    const args = ['client', '--server', `http://127.0.0.1:${proxy.port}`, '--id', 'ada', '--engine', 'reference']
    const client = start([...args, '--data', workshop.at('rows.jsonl')], environment, home)
    await client.line({ event: 'fetch', file: 'block-0.bin' })
    proxy.cutAfter(MID_BLOCK_ACK_BYTES)
    await client.line({ event: 'connection', state: 'reconnecting' })
    expect(await client.ended).toMatchObject({ status: 0 })
    expect(await server.ended).toMatchObject({ status: 0 })
  } finally {
    await proxy.close()
  }
  const lines = (await readFile(join(runDir, 'traffic.jsonl'), 'utf8')).trimEnd().split('\n')
  const fetched = lines
    .map((line) => JSON.parse(line) as { kind: string; direction: string; payload_bytes: number })
    .filter(({ kind, direction }) => kind === 'weights' && direction === 'down')
  const files = await Promise.all((await filesOf(home)).map(async (path) => (await stat(path)).size))
  expect(fetched.map(({ payload_bytes }) => payload_bytes)).toEqual([files.reduce((sum, size) => sum + size, 0)])
})

/** All that a client has fetched. */
async function filesOf(home: string): Promise<string[]> {
  const cache = join(home, '.cache', 'cutlayer')
  const found = await Promise.all(
    ['weights', 'models'].map(async (kind) => {
      const [folder] = await readdir(join(cache, kind))
      return (await readdir(join(cache, kind, folder))).map((name) => join(cache, kind, folder, name))
    }),
  )
  // Compiled models and notes on the prepared files are made here.
  return found.flat().filter((path) => /models|block-\d+\.bin$|embedding\.bin$/.test(path))
}
