/**
 * @file What the frozen weights that graphs use take in memory, in each form that the engine needs them in.
 */
import { blockBytes, type Direction } from '../../shared/backend/blocks.js'
import type { Graph } from '../../shared/graph/data.js'
import { elements } from '../../shared/tensor.js'

const F32_BYTES = 4

/**
 * What products of prepacked weights take: the weight as it is stored, once for each way round in which a product has it as an operand.
 * The head counts as one product. Source: measured, ARCHITECTURE.md, Engines.
 * @param inBlocks names of the weights that are kept in 8-bit blocks
 */
export function prepackedBytes(graph: Graph, inBlocks: ReadonlySet<string> = NONE): number {
  return bytesOfUses(
    weightUses(graph).filter(({ isProduct }) => isProduct),
    inBlocks,
  )
}

/** What the frozen weights of these graphs take, each counted once; in blocks once along its rows and once along its columns, if both are used. */
export function weightBytes(graphs: readonly Graph[], inBlocks: ReadonlySet<string> = NONE): number {
  const uses = graphs.flatMap(weightUses)
  const plain = new Map(uses.filter(({ name }) => !inBlocks.has(name)).map(({ name, shape }) => [name, F32_BYTES * elements(shape)]))
  const blocks = uses.filter(({ name }) => inBlocks.has(name))
  return [...plain.values()].reduce((sum, bytes) => sum + bytes, 0) + bytesOfUses(blocks, inBlocks)
}

const NONE: ReadonlySet<string> = new Set()

interface WeightUse {
  readonly name: string
  readonly shape: readonly number[]
  /** Which of the weight's axes is summed over, or read: along rows, a product takes it transposed. */
  readonly direction: Direction
  readonly isProduct: boolean
}

function weightUses(graph: Graph): WeightUse[] {
  return graph.nodes.flatMap(({ op, inputs, attributes }) =>
    inputs.flatMap((id, position): WeightUse[] => {
      const value = id === null ? undefined : graph.values[id]
      if (value?.source.kind !== 'weight') return []
      const shape = value.shape as readonly number[]
      const isProduct = shape.length > 1 && ['gemm', 'matmul', 'cross_entropy_head'].includes(op)
      const isTransposed = op === 'cross_entropy_head' || (position === 0 ? attributes.transposeA : attributes.transposeB) === true
      return [{ name: value.source.name, shape, direction: isProduct && !isTransposed ? 'columns' : 'rows', isProduct }]
    }),
  )
}

/** Each weight once for each direction. */
function bytesOfUses(uses: readonly WeightUse[], inBlocks: ReadonlySet<string>): number {
  const bytes = new Map(uses.map((use) => [`${use.name} ${use.direction}`, bytesOfWeight(use, inBlocks)]))
  return [...bytes.values()].reduce((sum, more) => sum + more, 0)
}

/**
 * Of weights in blocks that a graph multiplies, the largest as float32: without a layout for codes, the runtime turns each into numbers anew when it is
 * multiplied. 0 without such weights.
 */
export function largestAsNumbers(graph: Graph, inBlocks: ReadonlySet<string>): number {
  const multiplied = weightUses(graph).filter(({ name, isProduct }) => isProduct && inBlocks.has(name))
  return F32_BYTES * Math.max(0, ...multiplied.map(({ shape }) => elements(shape)))
}

/** Of a frozen weight as it is stored: float32, or a byte for each value and 4 for each block's scale. */
function bytesOfWeight({ name, shape, direction }: WeightUse, inBlocks: ReadonlySet<string>): number {
  if (!inBlocks.has(name)) return F32_BYTES * elements(shape)
  const [rows, columns] = shape
  const { codes, scales } = direction === 'rows' ? blockBytes(rows, columns) : blockBytes(columns, rows)
  return codes + scales
}
