/**
 * @file Models whose weights are sines: small enough to write down what transformers computes for them.
 */
import { expect } from 'vitest'
import { tensorsOf } from '../../backend/backend.js'
import { referenceBackend } from '../../backend/reference.js'
import { memoryWeights } from '../../backend/weights.js'
import { elements, i32 } from '../../tensor.js'
import { layoutOf } from '../../train/batch.js'
import type { Family } from '../families/family.js'
import { logitsGraph } from '../graphs.js'

/**
 * Number i of tensor t is sin(1 + i + 10 t) / 2 in float32, tensors counted in the family's order.
 * @param json config.json.
 * @param ids one row.
 * @param published logits of the class that transformers has for it in float64, row by row, to eight places (transformers 5.23, PyTorch 2.13).
 */
export async function expectSineLogits<Config>(
  family: Family<Config>,
  json: object,
  ids: readonly number[],
  published: readonly number[],
): Promise<void> {
  const config = family.parse(json)
  const weights = [...family.tensors(config)].map(
    ([name, shape], t) =>
      [name, { shape, data: Float32Array.from({ length: elements(shape) }, (_, i) => 0.5 * Math.sin(1 + i + 10 * t)) }] as const,
  )
  const graph = logitsGraph({ family, config })
  const program = await referenceBackend().compile(graph, memoryWeights(new Map(weights), 'sines'), { name: 'logits' })
  const { positions, slots, places } = layoutOf([ids.length])
  const given = Object.entries({ ids: i32([ids.length], Int32Array.from(ids)), positions, slots, places })
  const read = graph.values.flatMap(({ source }) => (source.kind === 'input' ? [source.name] : []))
  const [logits] = tensorsOf(await program.run(Object.fromEntries(given.filter(([name]) => read.includes(name)))), ['logits'])
  expect(logits.shape).toEqual([ids.length, family.architecture(config).vocabularySize])
  expect(published).toHaveLength(logits.data.length)
  published.forEach((value, i) => expect(logits.data[i], `logit ${i}`).toBeCloseTo(value, 6))
}
