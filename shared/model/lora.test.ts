import { describe, expect, test } from 'vitest'
import { bindInputs } from '../backend/bindings.js'
import { evaluate } from '../backend/reference.js'
import { graphInputs, type Graph } from '../graph/data.js'
import type { NdArray } from '../graph/ndarray.js'
import { newGraph } from '../graph/ops/index.js'
import { expectArray, f64 } from '../graph/testing/forward.js'
import type { LinearModule } from './families/family.js'
import { addLora, defaultTerm, targetedModules, termInputs, type LoraTerm } from './lora.js'

/** y = x W + bias, and z = y V. */
function twoLinears(): Graph {
  const b = newGraph()
  const y = b.input('x', 'f32', ['tokens', 2]).gemm(b.weight('block.one.weight', [2, 2]), { add: b.weight('block.one.bias', [2]) })
  b.output('y', y)
  b.output('z', y.gemm(b.weight('block.two.weight', [2, 1])))
  return b.finish()
}

const PATH = 'block.one'
const leaves: Readonly<Record<string, NdArray>> = {
  x: f64([2, 2], [1, 2, 3, 4]),
  'block.one.weight': f64([2, 2], [1, 0, 0, 1]),
  'block.one.bias': f64([2], [10, 20]),
  'block.two.weight': f64([2, 1], [1, 1]),
  'block.one.lora_A.weight': f64([1, 2], [1, -1]),
  'block.one.lora_B.weight': f64([2, 1], [2, 3]),
  'block.one.lora_scale': f64([], [0.5]),
  'block.one.lora_mask': f64([2, 2], [0, 2, 2, 0]),
  'block.one.lora_A.residual.weight': f64([2, 2], [1, 0, 0, 1]),
  'block.one.lora_B.residual.weight': f64([2, 2], [0, 1, 1, 0]),
  'block.one.lora_scale.residual': f64([], [2]),
}

function outputOf(graph: Graph, name: string): NdArray {
  const values = evaluate(graph, bindInputs(graph, leaves, 'test'), (source) => leaves[source.name])
  return values[graph.outputs.get(name)!]
}

const residual: LoraTerm = { name: 'residual', trainable: false, dropout: false }

describe('addLora', () => {
  test('adds scale (x A^T) B^T to the layer, and nothing to others', () => {
    const graph = addLora(twoLinears(), new Map([[PATH, [defaultTerm(false)]]]))
    // x A^T = [-1, -1], so half of -1 [2, 3] is added to x + bias.
    expectArray(outputOf(graph, 'y'), [2, 2], [10, 20.5, 12, 22.5])
    expectArray(outputOf(graph, 'z'), [2, 1], [30.5, 34.5])
  })

  test('sends the input of A, not that of W, through the dropout mask', () => {
    const graph = addLora(twoLinears(), new Map([[PATH, [defaultTerm(true)]]]))
    // Masked x is [0, 4], [6, 0]; x A^T = [-4, 6].
    expectArray(outputOf(graph, 'y'), [2, 2], [11 - 4, 22 - 6, 13 + 6, 24 + 9])
  })

  test('lets several terms stand on one layer, each with inputs of its own', () => {
    const graph = addLora(twoLinears(), new Map([[PATH, [defaultTerm(false), residual]]]))
    // The second term adds 2 [x2, x1].
    expectArray(outputOf(graph, 'y'), [2, 2], [10 + 4, 20.5 + 2, 12 + 8, 22.5 + 6])
    const { a, b, scale } = termInputs(PATH, residual)
    const inputs = graphInputs(graph)
    for (const name of [a, b, scale]) expect(inputs.has(name), name).toBe(true)
  })

  test('leaves the rank open, apart for each term and layer', () => {
    const inputs = graphInputs(addLora(twoLinears(), new Map([PATH, 'block.two'].map((path) => [path, [defaultTerm(false), residual]]))))
    const ranks = [...inputs].filter(([name]) => name.includes('.lora_A.')).map(([, { shape }]) => shape[0])
    expect(new Set(ranks).size).toBe(4)
  })
})

describe('targetedModules', () => {
  const modules: LinearModule[] = ['h.0.attn.c_attn', 'h.0.attn.c_proj', 'h.0.mlp.c_proj', 'h.1.attn.c_attn'].map((path) => ({
    path,
    in: 2,
    out: 2,
  }))
  const paths = (targets: string[]): string[] => targetedModules(modules, targets).map(({ path }) => path)

  test('takes a whole path, or the last names of one', () => {
    expect(paths(['c_proj'])).toEqual(['h.0.attn.c_proj', 'h.0.mlp.c_proj'])
    expect(paths(['attn.c_proj'])).toEqual(['h.0.attn.c_proj'])
    expect(paths(['h.1.attn.c_attn'])).toEqual(['h.1.attn.c_attn'])
  })

  test('gives modules in the order of the model, each once', () => {
    expect(paths(['h.1.attn.c_attn', 'c_attn', 'mlp.c_proj'])).toEqual(['h.0.attn.c_attn', 'h.0.mlp.c_proj', 'h.1.attn.c_attn'])
  })

  test.each(['attn', 'proj', 'q_proj', '', 'h.0'])('refuses %j, which is no last name of any', (target) => {
    expect(() => paths(['c_attn', target])).toThrow(
      expect.objectContaining({ code: 'TARGET_MATCHES_NOTHING', why: expect.stringContaining('c_attn, c_proj') }),
    )
  })
})
