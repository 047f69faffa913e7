import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { newGraph } from '../../graph/ops/index.js'
import { f32 } from '../../tensor.js'
import { workerUrl } from '../../worker-url.node.js'
import { memoryWeights } from '../weights.js'
import { onnxBackend, onnxLane } from './onnx.node.js'
import type { WorkerSetup } from './worker-setup.js'

const SETUP: WorkerSetup = { engine: 'onnxruntime-node', threads: 1, spinning: false, profile: null, traced: false }
const NO_MODEL = {
  type: 'compile',
  program: 1,
  model: { bytes: new Uint8Array([1, 2, 3]), folder: null, prepack: false, keepsMemory: false },
} as const

describe('a lane', () => {
  test('says how to get an engine that is not installed', async () => {
    const lane = onnxLane(0, { ...SETUP, engine: 'onnxruntime-nowhere' })
    await expect(lane.call(NO_MODEL)).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
      why: expect.stringContaining('onnxruntime-nowhere') as string,
      fix: expect.stringContaining('npm ci') as string,
    })
    await lane.close()
  })

  test('rejects a call that the runtime refuses, and goes on', async () => {
    const lane = onnxLane(0, SETUP)
    await expect(lane.call(NO_MODEL)).rejects.toThrow(/protobuf parsing failed/i)
    await expect(lane.call({ type: 'release', ids: [7] })).rejects.toThrow('handle 7 was released')
    await expect(lane.call({ type: 'release', ids: [] })).resolves.toBeDefined()
    await lane.close()
    await expect(lane.call({ type: 'release', ids: [] })).rejects.toThrow('the backend was disposed')
  })

  test('rejects pending and later calls when its worker dies', async () => {
    // The module that it loads as its engine ends the thread.
    const lane = onnxLane(3, { ...SETUP, engine: 'data:text/javascript,process.exit(9)' })
    await expect(lane.call(NO_MODEL)).rejects.toThrow('the ONNX Runtime worker of lane 3 ended with code 9')
    await expect(lane.call(NO_MODEL)).rejects.toThrow('the ONNX Runtime worker of lane 3 ended with code 9')
    await lane.close()
  })
})

describe('a backend', () => {
  test('names the program that the runtime refuses', async () => {
    const g = newGraph()
    g.output('y', g.input('x', 'f32', ['n', 3]).add(g.weight('w', [3])))
    const wrong = memoryWeights(new Map([['w', { shape: [3], data: Float32Array.of(1) }]]), 'wrong')
    const backend = onnxBackend({ threads: 1, lanes: 1 })
    await expect(backend.compile(g.finish(), wrong, { name: 'too-short' })).rejects.toThrow(/^too-short: /)
    await backend.dispose()
  })

  test('lets a process end that forgot to dispose of it, but not before its pending run', async () => {
    const script = `
      import { onnxBackend } from './onnx.node.js'
      import { newGraph } from '../../graph/ops/index.js'
      import { f32 } from '../../tensor.js'
      import { memoryWeights } from '../weights.js'
      const g = newGraph()
      g.output('y', g.input('x', 'f32', ['n']).add(1))
      const backend = onnxBackend({ threads: 1, lanes: 2 })
      const program = await backend.compile(g.finish(), memoryWeights(new Map(), ''), { name: 'forgotten' })
      void program.run({ x: f32([1], [41]) }).then(({ y }) => console.log(y.data[0]))`
    const folder = new URL('.', workerUrl('onnx-worker.node.js', import.meta.url))
    const code = script.replaceAll(/'(\.\.?\/[^']*)'/g, (_, path: string) => `'${new URL(path, folder).href}'`)
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output, [exitCode]] = await Promise.all([text(child.stdout), once(child, 'exit') as Promise<[number]>])
    expect({ output, exitCode }).toEqual({ output: '42\n', exitCode: 0 })
  })

  test('leaves inputs usable after a run that fails', async () => {
    const g = newGraph()
    g.output('y', g.input('table', 'f32', ['n', 2]).gather(g.input('rows', 'i32', ['m'])))
    const backend = onnxBackend({ threads: 1, lanes: 1 })
    const program = await backend.compile(g.finish(), memoryWeights(new Map(), ''), { name: 'lookup' })
    const table = f32([2, 2], [1, 2, 3, 4])
    const rows = (row: number) => ({ dtype: 'i32', shape: [1], data: Int32Array.of(row) }) as const
    await expect(program.run({ table, rows: rows(5) })).rejects.toThrow(/^lookup: .*5/s)
    expect(await program.run({ table, rows: rows(1) })).toEqual({ y: f32([1, 2], [3, 4]) })
    await backend.dispose()
  })
})
