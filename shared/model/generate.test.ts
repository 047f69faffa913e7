import { afterAll, describe, expect, test } from 'vitest'
import type { Backend } from '../backend/backend.js'
import { onnxBackend } from '../backend/onnx/onnx.node.js'
import { referenceBackend } from '../backend/reference.js'
import { tfjsEngines } from '../backend/tfjs/testing/kinds.js'
import type { I32Tensor } from '../tensor.js'
import { openDecoder } from './decoder.js'
import { generateTokens } from './generate.js'
import { chooseToken } from './sampling.js'
import { GOLDEN_MODELS, goldenFile, openGolden, readJson, relativeError } from './testing/golden.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 1 }

const backends: { name: string; create: () => Backend; tolerance: number }[] = [
  { name: 'reference', create: referenceBackend, tolerance: 1e-6 },
  { name: 'onnx', create: () => onnxBackend({ threads: 1, lanes: 1 }), tolerance: 1e-4 },
  ...tfjsEngines({ lanes: 1 }).map((engine) => ({ ...engine, tolerance: 1e-4 })),
]

describe.each(backends)('on $name', ({ create, tolerance }) => {
  const backend = create()
  afterAll(() => backend.dispose())

  describe.each(GOLDEN_MODELS)('the golden model %s', (name) => {
    const golden = openGolden(name)
    const prompt = (golden.tensors.get('input_ids') as I32Tensor).data.slice(0, 4)
    const open = () => openDecoder({ backend, model: golden.model, weights: golden.weights, lora: golden.lora, lane: 0 }, golden.adapter)

    test('writes greedily what transformers writes, token for token', async () => {
      const { greedy } = readJson<{ greedy: number[] }>(goldenFile(name, 'golden.json'))
      const decoder = await open()
      const ids: number[] = []
      for await (const id of generateTokens(decoder, prompt, { ...GREEDY, maxNewTokens: greedy.length, eosId: 2 })) ids.push(id)
      expect(ids).toEqual(greedy)
      await decoder.dispose()
      expect(backend.liveHandles()).toBe(0)
    })

    test('gives the same logits token by token as in one go', async () => {
      const [whole, steps] = [await open(), await open()]
      const row = (golden.tensors.get('input_ids') as I32Tensor).data.slice(0, 12)
      const expected = await whole.next(row)
      let logits = await steps.next(row.slice(0, 5))
      for (const id of row.slice(5)) logits = await steps.next(Int32Array.of(id))
      expect(relativeError(logits, expected)).toBeLessThan(tolerance)
      expect(steps.room).toBe(64 - 12)
      await whole.dispose()
      await steps.dispose()
    })
  })

  test('stops at the end token, and says when the model has no position left', async () => {
    const golden = openGolden('gpt2')
    const decoder = await openDecoder({ backend, model: golden.model, weights: golden.weights, lora: golden.lora, lane: 0 }, golden.adapter)
    const { greedy } = readJson<{ greedy: number[] }>(goldenFile('gpt2', 'golden.json'))
    const prompt = (golden.tensors.get('input_ids') as I32Tensor).data.slice(0, 4)
    const ids: number[] = []
    for await (const id of generateTokens(decoder, prompt, { ...GREEDY, maxNewTokens: 50, eosId: greedy[2] })) ids.push(id)
    expect(ids).toEqual(greedy.slice(0, 3))
    expect(decoder.room).toBe(64 - 4 - 2)
    await expect(decoder.next(new Int32Array(59))).rejects.toMatchObject({ code: 'BAD_ARGUMENT' })
    await decoder.dispose()
  })
})

test('ends with the last position that the model has', async () => {
  const backend = referenceBackend()
  const golden = openGolden('gpt2')
  const decoder = await openDecoder({ backend, model: golden.model, weights: golden.weights, lora: golden.lora, lane: 0 }, golden.adapter)
  let count = 0
  for await (const _ of generateTokens(decoder, new Int32Array(60).fill(5), { ...GREEDY, maxNewTokens: 50, eosId: null })) count++
  // The last of the 64 positions still gives a token after it.
  expect(count).toBe(5)
  await decoder.dispose()
})

describe('sampling', () => {
  const logits = Float32Array.from([1, 3, 2, -1])
  const counts = (options: Partial<typeof GREEDY>, seen: number[] = []): number[] => {
    const found = [0, 0, 0, 0]
    for (let step = 0; step < 4000; step++) found[chooseToken(logits, seen, step, { ...GREEDY, temperature: 1, ...options })]++
    return found.map((count) => count / 4000)
  }

  test('follows the softmax of the logits over the temperature', () => {
    // softmax([1, 3, 2, -1]) = 0.0889, 0.6572, 0.2418, 0.0120
    counts({}).forEach((share, id) => expect(share).toBeCloseTo([0.0889, 0.6572, 0.2418, 0.012][id], 1))
    expect(counts({ temperature: 0.01 })).toEqual([0, 1, 0, 0])
  })

  test('keeps to the k likeliest, and to the fewest that reach p', () => {
    expect(counts({ topK: 2 }).map((share) => share > 0)).toEqual([false, true, true, false])
    // 0.6572 alone does not reach 0.8; with 0.2418 it does.
    expect(counts({ topP: 0.8 }).map((share) => share > 0)).toEqual([false, true, true, false])
    expect(counts({ topP: 0.5 })).toEqual([0, 1, 0, 0])
  })

  test('makes tokens seen before less likely: positive logits are divided, negative ones multiplied', () => {
    // Token 1 goes from 3 to 1.5, below token 2.
    expect(chooseToken(logits, [1], 0, { ...GREEDY, repetitionPenalty: 2 })).toBe(2)
    expect(chooseToken(Float32Array.from([-1, -1.5]), [0, 0], 0, { ...GREEDY, repetitionPenalty: 2 })).toBe(1)
  })

  test('makes the same choices for the same seed', () => {
    const choices = (seed: number): number[] =>
      Array.from({ length: 50 }, (_, step) => chooseToken(logits, [], step, { ...GREEDY, temperature: 1, seed }))
    expect(choices(7)).toEqual(choices(7))
    expect(choices(7)).not.toEqual(choices(8))
  })
})
