import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newGraph } from '../../graph/ops/index.js'
import { f32 } from '../../tensor.js'
import { workerUrl } from '../../worker-url.node.js'
import { Lane } from '../lanes/lane.node.js'
import { inProcess } from '../lanes/worker-host.node.js'
import { memoryWeights } from '../weights.js'
import { findTfjs } from './kinds.node.js'
import { tfjsBackend } from './tfjs.node.js'
import type { WorkerModel, WorkerSetup } from './worker-setup.js'

const WORKER = workerUrl('tfjs-worker.node.js', import.meta.url)
const WASM: WorkerSetup = { ...findTfjs({ ...process.env, CUTLAYER_TFJS: 'wasm' }), traced: false, countsTensors: true }
const NO_WEIGHTS = memoryWeights(new Map(), 'none')

const doubling = () => {
  const g = newGraph()
  g.output('y', g.input('x', 'f32', ['n']).mul(2))
  return g.finish()
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tfjs-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('a package that cannot be loaded', () => {
  test.each([
    ['native', 'cutlayer engine install tfjs'],
    ['wasm', 'npm ci'],
  ] as const)('is told with how to get it: %s', async (kind, fix) => {
    const backend = tfjsBackend({ threads: 1, lanes: 1, found: { kind, from: join(folder, 'nothing') } })
    await expect(backend.compile(doubling(), NO_WEIGHTS, { name: 'missing' })).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
      why: expect.stringContaining(`TensorFlow.js (${kind}): `) as string,
      fix: expect.stringContaining(fix) as string,
    })
    await backend.dispose()
  })
})

// WASM computes in a process just as well, so this needs nothing installed.
describe('a lane in a process of its own', () => {
  const open = () =>
    new Lane<WorkerModel>(0, { engine: 'TensorFlow.js', start: inProcess(WORKER, WASM, {}), missing: () => expect.unreachable() })
  const compile = { type: 'compile', program: 1, model: { graph: doubling(), weights: new Map() } } as const

  test('answers calls, takes numbers that lie at any offset, and ends', async () => {
    const lane = open()
    await lane.call(compile)
    const x = f32([3], Float32Array.of(9, 1, 2, 3).subarray(1))
    const outputs = [...doubling().outputs.values()].map(String)
    const run = { type: 'run', program: 1, feeds: { x: { kind: 'tensor', tensor: x } }, returns: outputs, keeps: [] } as const
    expect(Object.values((await lane.call(run)).tensors)).toEqual([f32([3], [2, 4, 6])])
    await lane.close()
    await expect(lane.call(run)).rejects.toThrow('the backend was disposed')
  })

  test('says what ended it', async () => {
    const lane = open()
    await lane.call(compile)
    const [pid] = await childrenOf(process.pid)
    process.kill(pid!, 'SIGKILL')
    await expect(lane.call({ type: 'dispose', program: 1 })).rejects.toThrow('the TensorFlow.js worker of lane 0 was ended by SIGKILL')
    await lane.close()
  })

  test.each(['SIGKILL', 'SIGINT'] as const)('ends with the process that started it, also by %s', async (signal) => {
    const parent = await startParent('setInterval(() => {}, 1000)')
    const [worker] = await childrenOf(parent.pid!)
    // Ctrl-C reaches both.
    if (signal === 'SIGINT') process.kill(worker!, 'SIGINT')
    parent.kill(signal)
    await once(parent, 'exit')
    while (isAlive(worker!)) await new Promise((resolve) => setImmediate(resolve))
  })

  test('lets a process end that forgot to close it, and ends then', async () => {
    const parent = await startParent('await once(process.stdin, "data"); process.stdin.destroy()')
    const [worker] = await childrenOf(parent.pid!)
    parent.stdin!.write('go on')
    expect(await once(parent, 'exit')).toEqual([0, null])
    while (isAlive(worker!)) await new Promise((resolve) => setImmediate(resolve))
  })

  /** A process that has asked something of a process of its own, says so, and then does what it is told. */
  async function startParent(then: string): Promise<ChildProcess> {
    const lanes = new URL('../lanes/', WORKER)
    const script = `
      import { once } from 'node:events'
      import { Lane } from ${JSON.stringify(new URL('lane.node.js', lanes).href)}
      import { inProcess } from ${JSON.stringify(new URL('worker-host.node.js', lanes).href)}
      const start = inProcess(new URL(${JSON.stringify(WORKER.href)}), ${JSON.stringify(WASM)}, {})
      const lane = new Lane(0, { engine: 'TensorFlow.js', start, missing: (why) => new Error(why) })
      await lane.call({ type: 'release', ids: [] })
      console.log('ready')
      ${then}`
    const path = join(folder, 'parent.mjs')
    await writeFile(path, script)
    const parent = spawn(process.execPath, [path], { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(createInterface({ input: parent.stdout }), 'line')
    return parent
  }
})

async function childrenOf(parent: number): Promise<number[]> {
  const ps = spawn('ps', ['-A', '-o', 'pid=,ppid=,args='], { stdio: ['ignore', 'pipe', 'inherit'] })
  const found: number[] = []
  for await (const line of createInterface({ input: ps.stdout })) {
    const [, pid, of, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? []
    if (Number(of) === parent && command!.includes('tfjs-worker')) found.push(Number(pid))
  }
  return found
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
