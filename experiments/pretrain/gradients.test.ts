import { afterAll, describe, expect, test } from 'vitest'
import { tensorsOf, type Backend } from '../../shared/backend/backend.js'
import { bindInputs } from '../../shared/backend/bindings.js'
import { onnxBackend } from '../../shared/backend/onnx/onnx.node.js'
import { evaluate, referenceBackend } from '../../shared/backend/reference.js'
import { memoryWeights } from '../../shared/backend/weights.js'
import { NdArray } from '../../shared/graph/ndarray.js'
import { gradName, lossGraph, trainableWeights, withLossGradients } from '../../shared/model/graphs.js'
import { openGolden, relativeError } from '../../shared/model/testing/golden.js'
import { derive } from '../../shared/random.js'
import { f32, scalar, type F32Tensor, type Tensor } from '../../shared/tensor.js'

const { model, weights: store, batch } = openGolden('gpt2')
const names = [...store.specs.keys()]
const forward = trainableWeights(lossGraph(model, 0), new Set(names))
const training = withLossGradients(forward, names)
const parameters = new Map<string, F32Tensor>()
for (const [name, { shape }] of store.specs) parameters.set(name, f32(shape, await store.read(name)))

const { ids, positions, slots, places, scored, targets } = batch
const inputs: Record<string, Tensor> = {
  ...{ ids, positions, slots, places, scored, targets, normalizer: scalar(targets.data.length) },
  ...Object.fromEntries(parameters),
}
const bindings = bindInputs(training, inputs, 'whole model')

/** The loss in float64, with one element of one weight moved. */
function lossWith(name: string, index: number, by: number): number {
  const values = evaluate(forward, bindings, (source) => {
    const { shape, data } = inputs[source.name]
    const array = NdArray.from(shape, data)
    if (source.name === name) array.data[index] += by
    return array
  })
  return values[forward.outputs.get('loss')!].data[0]
}

function exactGradients(): Map<string, NdArray> {
  const values = evaluate(training, bindings, ({ name }) => NdArray.from(inputs[name].shape, inputs[name].data))
  return new Map(names.map((name) => [name, values[training.outputs.get(gradName(name))!]]))
}

describe('the gradient by every weight of the golden GPT-2', () => {
  const exact = exactGradients()
  // Of the blocks the first and the last: what is between them has the same ops.
  const sampled = names.filter((name) => !/\.h\.[12]\./.test(name))

  test('the sample has every kind of weight', () => {
    const kinds = new Set(sampled.map((name) => name.replace(/\.h\.\d+\./, '.h.N.')))
    expect([...kinds].sort()).toEqual([...new Set(names.map((name) => name.replace(/\.h\.\d+\./, '.h.N.')))].sort())
    expect(kinds.size).toBe(16)
  })

  test.each(sampled)('%s: central differences give the same slopes', (name) => {
    const { data } = exact.get(name)!
    const largest = data.reduce((most, slope) => Math.max(most, Math.abs(slope)), 0)
    expect(largest).toBeGreaterThan(0)
    // The steepest element, and one that nobody chose.
    const steepest = data.findIndex((slope) => Math.abs(slope) === largest)
    const step = 1e-4
    for (const index of [steepest, derive(1, name).below(data.length)]) {
      const difference = (lossWith(name, index, step) - lossWith(name, index, -step)) / (2 * step)
      expect(Math.abs(data[index] - difference), `element ${index}`).toBeLessThan(1e-6 * Math.max(1, largest))
    }
  })

  const backends: { create: () => Backend; title: string; tolerance: number }[] = [
    { title: 'reference', create: referenceBackend, tolerance: 1e-6 },
    { title: 'onnx', create: () => onnxBackend({ threads: 1, lanes: 1 }), tolerance: 1e-4 },
  ]
  describe.each(backends)('on $title', ({ create, tolerance }) => {
    const backend = create()
    afterAll(() => backend.dispose())

    test('is that of the float64 kernels, for all weights at once', async () => {
      const program = await backend.compile(training, memoryWeights(new Map(), 'none'), { name: 'whole' })
      const tensors = tensorsOf(await program.run(inputs), names.map(gradName))
      names.forEach((name, index) => expect(relativeError(tensors[index].data, exact.get(name)!.data), name).toBeLessThan(tolerance))
    })
  })
})
