import { describe, expect, test } from 'vitest'
import { extract } from './extract.js'
import { newGraph } from './ops/index.js'
import { printGraph } from './print.js'

describe('printGraph', () => {
  test('lists inputs, weights, constants, nodes, outputs and marks', () => {
    const builder = newGraph()
    const ids = builder.input('ids', 'i32', ['tokens'])
    const table = builder.weight('transformer.wte.weight', [50257, 8])
    const hidden = table.gather(ids)
    builder.mark('hidden.0', hidden)
    const projection = builder.weight('transformer.h.0.attn.c_attn.weight', [8, 24])
    const [query, key] = hidden
      .gemm(projection, { add: builder.weight('transformer.h.0.attn.c_attn.bias', [24]) })
      .mul(0.5)
      .split(1, 3)
    const bumped = query.add(builder.constant([1, 2, 3, 4, 5, 6, 7, 8], [8]))
    builder.output('scores', bumped.matmul(key, { transposeB: true }))
    builder.output('table', table)
    expect(printGraph(builder.finish())).toBe(`inputs
  %0 i32[tokens] = ids
weights
  @transformer.wte.weight f32[50257, 8]
  @transformer.h.0.attn.c_attn.weight f32[8, 24]
  @transformer.h.0.attn.c_attn.bias f32[24]
constants
  %11 f32[8] = [1, 2, 3, 4, 5, 6, 7, 8]
nodes
  %2 f32[tokens, 8] = gather(@transformer.wte.weight, %0)
  %5 f32[tokens, 24] = gemm(%2, @transformer.h.0.attn.c_attn.weight, add=@transformer.h.0.attn.c_attn.bias) {transposeA: false, transposeB: false}
  %7 f32[tokens, 24] = mul(%5, 0.5)
  %8 f32[tokens, 8], %9 f32[tokens, 8], %10 f32[tokens, 8] = split(%7) {axis: 1, count: 3}
  %12 f32[tokens, 8] = add(%8, %11)
  %13 f32[tokens, tokens] = matmul(%12, %9) {transposeA: false, transposeB: true}
outputs
  scores = %13
  table = @transformer.wte.weight
marks
  hidden.0 = %2`)
  })
  test('leaves out sections without lines, absent inputs and empty attributes', () => {
    const builder = newGraph()
    const x = builder.input('x', 'f32', ['2*batch', 4])
    builder.output('y', x.gemm(x, { transposeA: true }).sum([0, 1]).neg())
    expect(printGraph(builder.finish())).toBe(`inputs
  %0 f32[2*batch, 4] = x
nodes
  %1 f32[4, 4] = gemm(%0, %0) {transposeA: true, transposeB: false}
  %2 f32[1, 1] = sum(%1) {axes: [0, 1]}
  %3 f32[1, 1] = neg(%2)
outputs
  y = %3`)
  })
  test('shows the beginning of a long constant, and how long it is', () => {
    const builder = newGraph()
    builder.output('y', builder.constant(Array<number>(20).fill(1), [4, 5]))
    expect(printGraph(builder.finish())).toBe(`constants
  %0 f32[4, 5] = [1, 1, 1, 1, 1, 1, 1, 1, ... 20 in all]
outputs
  y = %0`)
  })
  test('prints a weight once that a graph has as two values, and nothing of no graph', () => {
    const builder = newGraph()
    const weight = builder.weight('w', [2])
    builder.output('y', weight.add(1))
    const graph = builder.finish()
    const twice = { ...graph, values: [...graph.values, graph.values[weight.id]] }
    expect(printGraph(twice)).toBe(printGraph(graph))
    expect(printGraph(extract(graph, new Map()))).toBe('')
  })
})
