/**
 * @file A model of random weights, as prepared files: what a benchmark needs of a checkpoint.
 */
import type { Precision } from '../../shared/backend/weights.js'
import type { ModelDefinition } from '../../shared/model/graphs.js'
import type { PreparedWeights } from '../../shared/model/prepared-files.node.js'
import { preparationOf, prepareWeights, type NumberSource } from '../../shared/model/prepared.node.js'
import { derive } from '../../shared/random.js'
import { elements } from '../../shared/tensor.js'

/** Tensors repeat this many random numbers: time does not depend on the values, and making them takes longer than writing them. */
const POOL = 2 ** 20
/** Each tensor begins elsewhere among them: of equal tensors the runtime keeps one copy, and a model of such would be smaller and faster than any real one. */
const SHIFT = 86_477

/** All of a model's tensors: norms as 1, other vectors as 0, matrices normal with deviation 0.02. */
export function randomNumbers({ family, config }: ModelDefinition): NumberSource {
  const pool = new Float32Array(POOL)
  derive(1, 'benchmark weights').fillNormal(pool, 0, 0.02)
  const shapes = family.tensors(config)
  const names = [...shapes.keys()]
  return {
    where: 'random numbers',
    shapes,
    async *pieces(name) {
      const shape = shapes.get(name)!
      const count = elements(shape)
      if (shape.length === 1) return yield new Float32Array(count).fill(name.endsWith('.weight') ? 1 : 0)
      for (let from = 0, start = (names.indexOf(name) * SHIFT) % POOL; from < count; start = 0) {
        const part = Math.min(POOL - start, count - from)
        yield pool.subarray(start, start + part)
        from += part
      }
    },
  }
}

/** Prepares a model's random weights below `folder`. */
export async function writeRandomWeights(
  folder: string,
  definition: ModelDefinition,
  precision: Precision = 'fp32',
): Promise<PreparedWeights> {
  const source = randomNumbers(definition)
  const names = source.shapes.keys()
  return prepareWeights({ ...preparationOf(definition, 'random', precision), source, names, cache: folder })
}
