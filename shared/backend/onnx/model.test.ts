import { describe, expect, test } from 'vitest'
import type { Dim } from '../../graph/dims.js'
import { newGraph } from '../../graph/ops/index.js'
import { lowerGraph, type PlacedWeight } from './model.js'

/** The names of ops stand in a model's bytes as text. */
function holds(bytes: Uint8Array, text: string): boolean {
  return Buffer.from(bytes).includes(text)
}

const noWeights = (name: string): PlacedWeight => {
  throw new Error(`${name} was asked for`)
}

describe('lowering', () => {
  test('leaves out what no output needs', () => {
    const g = newGraph()
    const head = g.input('hidden', 'f32', ['n', 4]).crossEntropyHead(g.input('w', 'f32', [9, 4]), g.input('targets', 'i32', ['n']))
    g.output('nll', head.nll)
    const some = lowerGraph(g.finish(), 'some', noWeights)
    g.output('slope', head.slope)
    const all = lowerGraph(g.finish(), 'all', noWeights)
    expect(holds(some.bytes, 'Softmax')).toBe(true)
    expect(holds(some.bytes, 'ScatterElements')).toBe(false)
    expect(holds(all.bytes, 'ScatterElements')).toBe(true)
  })

  test('computes a shape only where two of its sizes are known to neither the input nor the remainder', () => {
    const computes = (from: readonly Dim[], to: readonly Dim[]): boolean => {
      const g = newGraph()
      g.input('sizes', 'f32', ['batch', 'm'])
      g.output('y', g.input('x', 'f32', from).reshape(to))
      // A computed shape begins with its sizes' Shape nodes, which take the attributes start and end.
      return holds(lowerGraph(g.finish(), 'reshaped', noWeights).bytes, 'start')
    }
    expect(computes(['batch', 'm', 6], ['batch', 'm', 2, 3])).toBe(false)
    expect(computes(['batch', 'm', 6], ['batch*m', 6])).toBe(false)
    expect(computes(['batch*m', 6], ['batch', 'm', 6])).toBe(true)
  })

  test('gives the same bytes for the same graph', () => {
    const build = () => {
      const g = newGraph()
      const x = g.input('x', 'f32', ['n', 4])
      g.output(
        'y',
        x
          .gemm(g.weight('w', [4, 4]))
          .gelu()
          .layerNorm(g.weight('s', [4]), g.weight('b', [4]), 1e-5),
      )
      return lowerGraph(g.finish(), 'twice', (name) => ({ plain: { file: `${name}.bin`, offset: 0, bytes: 16 } }))
    }
    expect(build().bytes).toEqual(build().bytes)
    expect([...build().outputs.keys()]).toEqual(['y'])
  })
})
