import { afterAll, describe, expect, test } from 'vitest'
import { newGraph } from '../../../graph/ops/index.js'
import { derive } from '../../../random.js'
import { f32, type F32Tensor } from '../../../tensor.js'
import { memoryWeights } from '../../weights.js'
import { lowerGraph } from '../model.js'
import { onnxBackend } from '../onnx.node.js'

const [WIDTH, COLUMNS] = [1024, 256]

function normal(shape: readonly number[], name: string): F32Tensor {
  const random = derive(1, name)
  return f32(
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
  )
}

/** A weight multiplied as it is stored, and one that is stored transposed. */
function products(width: number) {
  const g = newGraph()
  const weight = g.weight('w', [width, COLUMNS])
  const transposed = g.weight('t', [COLUMNS, width])
  const x = g.input('x', 'f32', ['tokens', width])
  g.output('plain', x.gemm(weight))
  g.output('added', x.gemm(transposed, { transposeB: true, add: g.weight('bias', [COLUMNS]) }))
  return g.finish()
}

const backend = onnxBackend({ threads: 2, lanes: 1 })
afterAll(() => backend.dispose())

describe('rows whose distance is a multiple of 4,096 bytes', () => {
  const bytes = (width: number, prepack: boolean): Buffer =>
    Buffer.from(lowerGraph(products(width), 'products', () => ({ plain: { raw: new Uint8Array() } }), { prepack }).bytes)
  test('are moved apart only where weights are laid out anyway', () => {
    expect(bytes(WIDTH, true).includes('Concat')).toBe(true)
    expect(bytes(WIDTH, false).includes('Concat')).toBe(false)
  })
  test('are left alone at any other width', () => {
    expect(bytes(WIDTH - 256, true).includes('Concat')).toBe(false)
    expect(bytes(64 * WIDTH, true).includes('Concat')).toBe(false)
  })
  test.each([1, 5, 300])('give the same product, of %i rows', async (tokens) => {
    const tensors = { w: normal([WIDTH, COLUMNS], 'w'), t: normal([COLUMNS, WIDTH], 't'), bias: normal([COLUMNS], 'bias') }
    const weights = memoryWeights(new Map(Object.entries(tensors)), 'products')
    const x = normal([tokens, WIDTH], 'x')
    const program = await backend.compile(products(WIDTH), weights, { name: 'products', prepack: true })
    const { plain, added } = await program.run({ x })
    const [first, second] = [plain as F32Tensor, added as F32Tensor]
    for (const [row, column] of [
      [0, 0],
      [tokens - 1, COLUMNS - 1],
      [tokens >> 1, 77],
    ] as const) {
      let [sum, other] = [0, tensors.bias.data[column]!]
      for (let i = 0; i < WIDTH; i++) {
        sum += x.data[row * WIDTH + i]! * tensors.w.data[i * COLUMNS + column]!
        other += x.data[row * WIDTH + i]! * tensors.t.data[column * WIDTH + i]!
      }
      // Products of numbers of about 1, of which 1024 are added: about 32, with 24 bits.
      expect(first.data[row * COLUMNS + column]).toBeCloseTo(sum, 3)
      expect(second.data[row * COLUMNS + column]).toBeCloseTo(other, 3)
    }
    await program.dispose()
  })
})
