import { afterAll, describe, expect, test } from 'vitest'
import type { Backend } from '../shared/backend/backend.js'
import { onnxBackend } from '../shared/backend/onnx/onnx.node.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { tfjsEngines } from '../shared/backend/tfjs/testing/kinds.js'
import { goldenBatch, packed, readTensors, relativeError } from '../shared/model/testing/golden.js'
import { federatedFile, goldenAdapter, loadFederated, runFederated } from './testing/federated.js'
import { overSockets, type Connect } from './testing/links.js'

const CASES = ['joint', 'sequential', 'replicated', 'reset', 'keep', 'sgd', 'all-knobs', 'dropped', 'one-client'].map(
  (name) => `federated-${name}`,
)

const backends: { name: string; create: () => Backend; numbers: number; adapter: number }[] = [
  { name: 'reference', create: referenceBackend, numbers: 1e-5, adapter: 1e-4 },
  { name: 'onnx', create: () => onnxBackend({ threads: 1, lanes: 1 }), numbers: 1e-4, adapter: 1e-3 },
  ...tfjsEngines({ lanes: 1 }).map((engine) => ({ ...engine, numbers: 1e-4, adapter: 1e-3 })),
]

describe.each(backends)('on $name', ({ create, numbers, adapter: tolerance }) => {
  const backend = create()
  afterAll(() => backend.dispose())

  test.each(CASES)('%s ends with the losses, norms and adapter of plain PyTorch', (name) => expectGolden(name))

  test('federated-joint over real sockets does so too', async () => {
    const sockets = await overSockets()
    try {
      await expectGolden('federated-joint', sockets.connect)
    } finally {
      await sockets.close()
    }
  })

  async function expectGolden(name: string, connect?: Connect): Promise<void> {
    const golden = loadFederated(name)
    const { lines, adapter, firstGradients } = await runFederated(name, backend, connect)
    const close = (actual: number | null, expected: number, what: string): void =>
      expect(Math.abs((actual ?? NaN) - expected) / Math.abs(expected), what).toBeLessThan(numbers)
    for (const expected of golden.steps) {
      const client = expected.client === null ? null : `client-${expected.client}`
      const where = `round ${expected.round} step ${expected.step} ${client}`
      const line = lines.find((l) => l.round === expected.round && l.step === expected.step && l.client === client)
      expect(line, where).toBeDefined()
      if (expected.loss !== undefined) close(line!.loss, expected.loss, `${where} loss`)
      if (expected.scored !== undefined) expect(line!.tokens, where).toBe(expected.scored)
      if (expected.client_grad_norm !== undefined) close(line!.grad_norm, expected.client_grad_norm, `${where} client norm`)
      if (expected.top_grad_norm !== undefined) close(line!.top_grad_norm, expected.top_grad_norm, `${where} top norm`)
    }
    expect(lines).toHaveLength(golden.steps.length)
    const tensors = readTensors(federatedFile(name, 'golden.safetensors'))
    const batches = readTensors(federatedFile(name, 'batches.safetensors'))
    expect(firstGradients.size).toBe(golden.clients * golden.accumulate)
    for (const [key, gradient] of firstGradients) {
      const [client, micro] = key.split('.')
      const batch = goldenBatch(batches, `${client}.round1.step0.${micro}.`)
      expect(relativeError(gradient, packed(tensors.get(`G.${key}`)!, batch)), key).toBeLessThan(numbers)
    }
    const expectedAdapter = goldenAdapter(name)
    expect([...adapter.keys()].sort()).toEqual([...expectedAdapter.keys()].sort())
    for (const [key, expected] of expectedAdapter) expect(relativeError(adapter.get(key)!.data, expected.data), key).toBeLessThan(tolerance)
    expect(backend.liveHandles()).toBe(0)
  }
})
