import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Backend } from '../backend.js'
import { newGraph } from '../../graph/ops/index.js'
import { f32 } from '../../tensor.js'
import { memoryWeights, type WeightStore } from '../weights.js'
import { findTfjs } from './kinds.node.js'
import { tfjsBackend } from './tfjs.node.js'

let folder: string
let backend: Backend
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-tfjs-weights-'))
  const found = findTfjs({ ...process.env, CUTLAYER_TFJS: 'wasm' })
  // Each call fails if a tensor is left that nothing holds.
  backend = tfjsBackend({ threads: 1, lanes: 1, found, countsTensors: true })
})
afterEach(async () => {
  await backend.dispose()
  await rm(folder, { recursive: true })
})

/** y = x + first + second. */
const sum = () => {
  const g = newGraph()
  g.output(
    'y',
    g
      .input('x', 'f32', ['n', 2])
      .add(g.weight('first', [2]))
      .add(g.weight('second', [2])),
  )
  return g.finish()
}

/** Weights in a file of the folder, one behind the other. */
function prepared(offsets: Readonly<Record<string, number>>): WeightStore {
  const store = memoryWeights(new Map(), 'file')
  return { ...store, folder, locate: (name) => ({ file: 'weights.bin', offset: offsets[name]!, bytes: 8 }) }
}

const x = f32([1, 2], [100, 200])

test('weights are read where they lie in their file, and once for several programs', async () => {
  await writeFile(join(folder, 'weights.bin'), Buffer.from(Float32Array.of(9, 1, 2, 10, 20).buffer))
  const store = prepared({ first: 4, second: 12 })
  const first = await backend.compile(sum(), store, { name: 'first' })
  await rm(join(folder, 'weights.bin'))
  const second = await backend.compile(sum(), store, { name: 'second' })
  await first.dispose()
  expect(await second.run({ x })).toEqual({ y: f32([1, 2], [111, 222]) })
  await second.dispose()
})

test('a weight that cannot be read whole is told by its file, and none is kept', async () => {
  await writeFile(join(folder, 'weights.bin'), Buffer.from(Float32Array.of(1, 2, 10).buffer))
  const file = join(folder, 'weights.bin')
  await expect(backend.compile(sum(), prepared({ first: 0, second: 8 }), { name: 'cut' })).rejects.toThrow(
    `cut: ${file} ends before byte 16`,
  )
  const store = memoryWeights(new Map(['first', 'second'].map((name) => [name, { shape: [2], data: Float32Array.of(1, 2) }])), 'memory')
  const program = await backend.compile(sum(), store, { name: 'whole' })
  expect(await program.run({ x })).toEqual({ y: f32([1, 2], [102, 204]) })
  await program.dispose()
})
