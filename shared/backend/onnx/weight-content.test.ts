import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Graph } from '../../graph/data.js'
import { newGraph } from '../../graph/ops/index.js'
import { f32 } from '../../tensor.js'
import { memoryWeights, type WeightStore } from '../weights.js'
import { onnxBackend } from './onnx.node.js'
import { placeWeights } from './weight-content.node.js'

const MEMORY = memoryWeights(
  new Map([
    ['a', { shape: [2], data: Float32Array.of(1, 2) }],
    ['b', { shape: [2], data: Float32Array.of(10, 20) }],
    ['unused', { shape: [9], data: new Float32Array(9) }],
  ]),
  'memory',
)

/** y = x a + b */
function line(): Graph {
  const g = newGraph()
  g.output(
    'y',
    g
      .input('x', 'f32', ['n', 2])
      .mul(g.weight('a', [2]))
      .add(g.weight('b', [2])),
  )
  return g.finish()
}

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('weights of a store in memory', () => {
  test('go into the model, only those that the graph uses', async () => {
    const placed = await placeWeights(line(), MEMORY)
    expect(placed.folder).toBeNull()
    expect([...placed.content.keys()]).toEqual(['a', 'b'])
  })

  test('go to a file of their own if they are too large for a model, and leave with it', async () => {
    const backend = onnxBackend({ threads: 1, lanes: 1, temporaryFolder: folder, inlineLimitBytes: 15 })
    const program = await backend.compile(line(), MEMORY, { name: 'large' })
    expect(await readdir(folder)).toHaveLength(1)
    expect(await program.run({ x: f32([1, 2], [3, 4]) })).toEqual({ y: f32([1, 2], [13, 28]) })
    await program.dispose()
    expect(await readdir(folder)).toEqual([])
    await backend.compile(line(), MEMORY, { name: 'forgotten' })
    await backend.dispose()
    expect(await readdir(folder)).toEqual([])
  })
})

describe('weights in prepared files', () => {
  test('are read where they are, from any folder and with nothing written beside them', async () => {
    const prepared = join(folder, 'has spaces and ü')
    await mkdir(prepared)
    await writeFile(join(prepared, 'block-0.bin'), new Uint8Array(Float32Array.of(0, 1, 2, 10, 20).buffer))
    const store: WeightStore = {
      ...MEMORY,
      folder: prepared,
      read: () => Promise.reject(new Error('a prepared weight is mapped, not read')),
      locate: (name) => ({ file: 'block-0.bin', offset: name === 'a' ? 4 : 12, bytes: 8 }),
    }
    const backend = onnxBackend({ threads: 1, lanes: 2 })
    const programs = await Promise.all([0, 1].map((lane) => backend.compile(line(), store, { name: 'mapped', lane, prepack: lane === 1 })))
    for (const program of programs) expect(await program.run({ x: f32([1, 2], [3, 4]) })).toEqual({ y: f32([1, 2], [13, 28]) })
    expect(await readdir(prepared)).toEqual(['block-0.bin'])
    await backend.dispose()
  })

  test('that are missing or too short are an error that names the program', async () => {
    await writeFile(join(folder, 'short.bin'), new Uint8Array(4))
    const backend = onnxBackend({ threads: 1, lanes: 1 })
    for (const file of ['short.bin', 'absent.bin']) {
      const store = { ...MEMORY, folder, locate: () => ({ file, offset: 0, bytes: 8 }) }
      await expect(backend.compile(line(), store, { name: 'broken' }), file).rejects.toThrow(/^broken: /)
    }
    await backend.dispose()
  })
})
