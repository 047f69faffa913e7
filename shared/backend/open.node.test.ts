import { expect, test } from 'vitest'
import { closeBeforeExit } from '../exit.node.js'
import { newGraph } from '../graph/ops/index.js'
import { f32 } from '../tensor.js'
import { ENGINE_NAMES } from './backend.js'
import { memoryWeights } from './weights.js'
import { engineVersions, openBackend, threadsPerProcess } from './open.node.js'

const doubled = () => {
  const b = newGraph()
  const x = b.input('x', 'f32', ['n'])
  b.output('y', x.add(x))
  return b.finish()
}
const noWeights = memoryWeights(new Map(), 'none')

test.each(ENGINE_NAMES)('%s is opened by its name, and may be disposed twice at once', async (name) => {
  const backend = openBackend(name, { threads: 1, lanes: 1 })
  expect(backend.name).toBe(name)
  const program = await backend.compile(doubled(), noWeights, { name: 'doubled' })
  expect(await program.run({ x: f32([2], [1, 2]) })).toEqual({ y: f32([2], [2, 4]) })
  await Promise.all([backend.dispose(), backend.dispose()])
  await backend.dispose()
})

test('an engine that nobody disposed is closed before the process exits, after the call under way', async () => {
  const backend = openBackend('onnx', { threads: 1, lanes: 1 })
  const program = await backend.compile(doubled(), noWeights, { name: 'doubled' })
  const result = program.run({ x: f32([1], [3]) })
  expect(await closeBeforeExit(60_000)).toBe(true)
  expect(await result).toEqual({ y: f32([1], [6]) })
  await expect(program.run({ x: f32([1], [3]) })).rejects.toThrow('disposed')
})

test('an engine that does not exist is refused by name', () => {
  expect(() => openBackend('torch', { threads: 1, lanes: 1 })).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }))
  expect(() => openBackend('toString', { threads: 1, lanes: 1 })).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }))
})

test('a process gets its share of the cores, and one thread at least', () => {
  expect(threadsPerProcess(1)).toBeGreaterThanOrEqual(1)
  expect(threadsPerProcess(1_000_000)).toBe(1)
})

test('the libraries that an engine computes with are told with their versions', () => {
  expect(engineVersions('onnx')).toEqual({ 'onnxruntime-node': expect.stringMatching(/^\d+\.\d+\.\d+/) as string })
  expect(Object.keys(engineVersions('tfjs'))).toEqual([expect.stringMatching(/^@tensorflow\/tfjs-(node-gpu|backend-(wasm|cpu))$/)])
  expect(engineVersions('reference')).toEqual({})
})
