/**
 * @file What a precision keeps of a model in blocks.
 */
import type { Direction } from '../backend/blocks.js'
import type { Precision } from '../backend/weights.js'
import type { ModelDefinition } from './graphs.js'

/**
 * The matrices that are kept in blocks: linear layers, embeddings and head. Primary are the blocks along the inputs of a layer, which the
 * forward pass sums over; other vectors and norms stay float32.
 */
export function matricesInBlocks({ family, config }: ModelDefinition, precision: Precision): ReadonlyMap<string, Direction> {
  if (precision === 'fp32') return new Map()
  const tables = [...family.embeddings, family.headWeight].filter((name) => family.tensors(config).has(name))
  return new Map<string, Direction>([
    ...family.linears(config).map(({ path }) => [`${path}.weight`, family.fanInFanOut ? 'columns' : 'rows'] as const),
    ...tables.map((name) => [name, 'rows'] as const),
  ])
}
