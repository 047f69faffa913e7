import { afterAll, describe, expect, test } from 'vitest'
import { tensorsOf, type Backend } from '../backend/backend.js'
import { onnxBackend } from '../backend/onnx/onnx.node.js'
import { referenceBackend } from '../backend/reference.js'
import { tfjsEngines } from '../backend/tfjs/testing/kinds.js'
import type { Graph } from '../graph/data.js'
import { graphInputs } from '../graph/data.js'
import { scalar, type F32Tensor, type Tensor } from '../tensor.js'
import { adamw, emptyState } from '../train/adamw.js'
import { gradName, logitsGraph, lossGraph, withLossGradients } from './graphs.js'
import { addLora, defaultTerm } from './lora.js'
import { openBottom, openTop, type StageSetting } from './stage.js'
import { GOLDEN_MODELS, goldenFile, openGolden, packed, readAdapter, readJson, relativeError, type GoldenCase } from './testing/golden.js'

const KEY = { seed: 1, client: 'client-0', round: 1, step: 0, micro: 0 }

const backends: { name: string; create: () => Backend; tolerance: number }[] = [
  { name: 'reference', create: referenceBackend, tolerance: 1e-5 },
  { name: 'onnx', create: () => onnxBackend({ threads: 1, lanes: 1 }), tolerance: 1e-4 },
  ...tfjsEngines({ lanes: 1 }).map((engine) => ({ ...engine, tolerance: 1e-4 })),
]

describe.each(backends)('on $name', ({ create, tolerance }) => {
  const backend = create()
  afterAll(() => backend.dispose())

  describe.each(GOLDEN_MODELS)('the golden model %s', (name) => {
    const golden = openGolden(name)
    const setting: StageSetting = {
      backend,
      model: golden.model,
      weights: golden.weights,
      lora: golden.lora,
      smoothing: 0,
      recomputeAll: false,
      lane: 0,
    }
    const withAdapter = (graph: Graph): Graph => addLora(graph, new Map(golden.lora.paths.map((path) => [path, [defaultTerm(false)]])))

    async function compute(graph: Graph): Promise<Record<string, Float32Array>> {
      const program = await backend.compile(graph, golden.weights, { name: 'golden' })
      const names = [...graph.outputs.keys()]
      const tensors = tensorsOf(await program.run(inputsOf(graph, golden)), names)
      await program.dispose()
      return Object.fromEntries(names.map((key, i) => [key, tensors[i].data as Float32Array]))
    }

    test('has the logits that transformers computes, with and without the adapter', async () => {
      const base = await compute(logitsGraph(golden.model))
      expect(relativeError(base['logits'], packed(golden.tensors.get('logits_base')!, golden.batch))).toBeLessThan(tolerance)
      const adapted = await compute(withAdapter(logitsGraph(golden.model)))
      expect(relativeError(adapted['logits'], packed(golden.tensors.get('logits_lora')!, golden.batch))).toBeLessThan(tolerance)
    })

    test('has the loss, the hidden states and their gradients, and every LoRA gradient that PyTorch computes', async () => {
      const loss = withAdapter(lossGraph(golden.model, 0))
      const marked: Graph = { ...loss, outputs: new Map([...loss.outputs, ...loss.marks]) }
      const results = await compute(withLossGradients(marked, [...golden.adapter.keys()]))
      expect(Math.abs(results['loss'][0] - golden.losses.loss_lora)).toBeLessThan(tolerance * golden.losses.loss_lora)
      for (const mark of loss.marks.keys())
        expect(relativeError(results[mark], packed(golden.tensors.get(mark)!, golden.batch)), mark).toBeLessThan(tolerance)
      for (const key of golden.adapter.keys())
        expect(relativeError(results[gradName(key)], data(golden, `grad.base_model.model.${key}`)), key).toBeLessThan(tolerance)
    })

    test.each([0, 1, 2, 3, 4])('cut at %i sends the hidden states and gets the gradients that PyTorch computes', async (layer) => {
      const bottom = await openBottom(setting, layer)
      const top = await openTop(setting, layer)
      const { hidden, pending } = await bottom.forward(golden.batch, golden.adapter, KEY)
      expect(relativeError(hidden.data, packed(golden.tensors.get(`hidden.${layer}`)!, golden.batch))).toBeLessThan(tolerance)
      const { ids: _, ...rest } = golden.batch
      const { nll, gradient, grads } = await top.train({ ...rest, hidden }, golden.batch.targets.data.length, golden.adapter, KEY)
      expect(Math.abs(nll / golden.batch.targets.data.length - golden.losses.loss_lora)).toBeLessThan(tolerance * golden.losses.loss_lora)
      expect(relativeError(gradient!.data, packed(golden.tensors.get(`grad_hidden.${layer}`)!, golden.batch))).toBeLessThan(tolerance)
      const all = new Map([...(await bottom.backward(pending, gradient!)), ...grads])
      expect([...all.keys()].sort()).toEqual([...golden.adapter.keys()].sort())
      for (const [key, grad] of all)
        expect(relativeError(grad.data, data(golden, `grad.base_model.model.${key}`)), key).toBeLessThan(tolerance)
      expect(
        Math.abs((await top.evaluate({ ...rest, hidden: await bottom.evaluate(golden.batch, golden.adapter) }, golden.adapter)) - nll),
      ).toBeLessThan(tolerance * nll)
      expect(backend.liveHandles()).toBe(0)
      await bottom.dispose()
      await top.dispose()
    })

    test('recomputing everything in the backward pass gives the same gradients', async () => {
      const bottom = await openBottom({ ...setting, recomputeAll: true }, 3)
      const { pending } = await bottom.forward(golden.batch, golden.adapter, KEY)
      expect(Object.keys(pending.saved)).toEqual([])
      const gradient: F32Tensor = {
        dtype: 'f32',
        shape: [golden.batch.ids.data.length, 32],
        data: packed(golden.tensors.get('grad_hidden.3')!, golden.batch),
      }
      for (const [key, grad] of await bottom.backward(pending, gradient))
        expect(relativeError(grad.data, data(golden, `grad.base_model.model.${key}`)), key).toBeLessThan(tolerance)
      await bottom.dispose()
    })

    test('makes the five AdamW steps that PyTorch makes', async () => {
      const published = readJson<{ losses: number[]; lr: number; weight_decay: number }>(goldenFile(name, 'adamw.json'))
      const adapter = new Map([...golden.adapter].map(([key, tensor]) => [key, { ...tensor, data: tensor.data.slice() }]))
      const optimizer = adamw(
        { adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, weight_decay: published.weight_decay },
        emptyState(),
      )
      const whole = await openTop(setting, null)
      const scored = golden.batch.targets.data.length
      for (const loss of published.losses) {
        const { nll, grads } = await whole.train(golden.batch, scored, adapter, KEY)
        expect(Math.abs(nll / scored - loss)).toBeLessThan(tolerance * loss)
        optimizer.step(adapter, grads, published.lr)
      }
      await whole.dispose()
      for (const [key, expected] of readAdapter(goldenFile(name, 'adamw.safetensors')))
        expect(relativeError(adapter.get(key)!.data, expected.data), key).toBeLessThan(tolerance)
    })
  })
})

function inputsOf(graph: Graph, { batch, adapter, lora }: GoldenCase): Record<string, Tensor> {
  const all: Record<string, Tensor> = {
    ids: batch.ids,
    positions: batch.positions,
    slots: batch.slots,
    places: batch.places,
    scored: batch.scored,
    targets: batch.targets,
    normalizer: scalar(batch.targets.data.length),
  }
  return Object.fromEntries(
    [...graphInputs(graph).keys()].map((name) => [
      name,
      all[name] ?? adapter.get(name) ?? scalar(name.endsWith('.lora_scale') ? lora.scale : NaN),
    ]),
  )
}

function data(golden: GoldenCase, name: string): Float32Array {
  return golden.tensors.get(name)!.data as Float32Array
}
