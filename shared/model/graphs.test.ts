import { describe, expect, test } from 'vitest'
import { tensorsOf } from '../backend/backend.js'
import { referenceBackend } from '../backend/reference.js'
import { graphInputs, graphWeights, type Graph } from '../graph/data.js'
import { scalar, type Tensor } from '../tensor.js'
import { gradName, logitsGraph, lossGraph, trainableWeights, withLossGradients } from './graphs.js'
import { openGolden } from './testing/golden.js'

const golden = openGolden('gpt2')
const { batch } = golden
const NORMALIZER = 7

async function outputsOf(graph: Graph, names: readonly string[]): Promise<Float32Array[]> {
  const { ids, positions, slots, places, scored, targets } = batch
  const all: Record<string, Tensor> = { ids, positions, slots, places, scored, targets, normalizer: scalar(NORMALIZER) }
  const program = await referenceBackend().compile(graph, golden.weights, { name: 'test' })
  const given = Object.fromEntries([...graphInputs(graph).keys()].map((name) => [name, all[name]]))
  return tensorsOf(await program.run(given), names).map(({ data }) => data as Float32Array)
}

/** -log p of every token of the vocabulary at each scored position, from the logits. */
async function surprises(): Promise<number[][]> {
  const [logits] = await outputsOf(logitsGraph(golden.model), ['logits'])
  const { vocabularySize } = golden.model.family.architecture(golden.model.config)
  return Array.from(batch.scored.data, (position) => {
    const row = Array.from(logits.subarray(position * vocabularySize, (position + 1) * vocabularySize))
    const highest = Math.max(...row)
    const logSum = highest + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - highest), 0))
    return row.map((logit) => logSum - logit)
  })
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

describe('the loss', () => {
  test.each([0, 0.1])('with smoothing %d is its published sum over the scored tokens, divided by the normalizer', async (smoothing) => {
    const [nll, loss] = await outputsOf(lossGraph(golden.model, smoothing), ['nll', 'loss'])
    const rows = await surprises()
    const plain = sum(rows.map((row, i) => row[batch.targets.data[i]]))
    const even = sum(rows.map((row) => sum(row) / row.length))
    expect(nll[0]).toBeCloseTo(plain, 3)
    expect(loss[0]).toBeCloseTo(((1 - smoothing) * plain + smoothing * even) / NORMALIZER, 4)
  })
})

describe('withLossGradients', () => {
  test('gives zeros where no path leads from an input to the loss', async () => {
    const loss = lossGraph(golden.model, 0)
    const idle: Graph = {
      ...loss,
      values: [...loss.values, { dtype: 'f32', shape: [2, 3], source: { kind: 'input', name: 'idle' } }],
      outputs: new Map([...loss.outputs, ['idle', loss.values.length]]),
    }
    const graph = withLossGradients(idle, ['idle'])
    expect(graph.values[graph.outputs.get(gradName('idle'))!].shape).toEqual([2, 3])
    const withoutIdle = { ...graph, outputs: new Map([...graph.outputs].filter(([name]) => name !== 'idle')) }
    const program = await referenceBackend().compile(withoutIdle, golden.weights, { name: 'test' })
    const { ids, positions, slots, places, scored, targets } = batch
    const idleInput: Tensor = { dtype: 'f32', shape: [2, 3], data: new Float32Array(6).fill(1) }
    const results = await program.run({ ids, positions, slots, places, scored, targets, normalizer: scalar(1), idle: idleInput })
    expect(tensorsOf(results, [gradName('idle')])[0].data).toEqual(new Float32Array(6))
  })

  test('refuses an input that the graph does not have', () => {
    expect(() => withLossGradients(lossGraph(golden.model, 0), ['absent'])).toThrow(/no input absent/)
  })
})

test('trainable weights become inputs of their own name and shape, and the others stay frozen', () => {
  const loss = lossGraph(golden.model, 0)
  const name = 'transformer.h.0.mlp.c_fc.weight'
  const trainable = trainableWeights(loss, new Set([name]))
  expect(graphInputs(trainable).get(name)).toEqual(graphWeights(loss).get(name))
  expect([...graphWeights(trainable).keys()]).toEqual([...graphWeights(loss).keys()].filter((other) => other !== name))
})
