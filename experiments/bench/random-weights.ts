/**
 * @file A model of random weights, as prepared files: what a benchmark needs of a checkpoint.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { WeightLocation, WeightStore } from '../../shared/backend/weights.js'
import { unreachable } from '../../shared/errors.js'
import { fileOf } from '../../shared/model/families/family.js'
import type { ModelDefinition } from '../../shared/model/graphs.js'
import { derive } from '../../shared/random.js'
import { elements } from '../../shared/tensor.js'

/** Tensors begin at multiples of a memory page. */
const ALIGNMENT = 4096
/** Tensors repeat this many random numbers: time does not depend on the values, and making them takes longer than writing them. */
const POOL = 2 ** 20

/**
 * Writes all of a model's tensors into `folder`: norms as 1, other vectors as 0, matrices normal with deviation 0.02.
 * They are little-endian, as every machine is that the engine runs on.
 */
export async function writeRandomWeights(folder: string, { family, config }: ModelDefinition): Promise<WeightStore> {
  const pool = new Float32Array(POOL)
  derive(1, 'benchmark weights').fillNormal(pool, 0, 0.02)
  const shapes = family.tensors(config)
  const locations = new Map<string, WeightLocation>()
  const files = new Map<string, string[]>()
  for (const name of shapes.keys()) files.set(fileOf(family, name), [...(files.get(fileOf(family, name)) ?? []), name])
  for (const [file, names] of files) {
    const handle = await open(join(folder, file), 'w')
    try {
      let end = 0
      for (const name of names) {
        const shape = shapes.get(name)!
        const count = elements(shape)
        const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT
        for (let from = 0; from < count; from += POOL) {
          const part = Math.min(POOL, count - from)
          const numbers = shape.length > 1 ? pool.subarray(0, part) : new Float32Array(part).fill(name.endsWith('.weight') ? 1 : 0)
          await handle.write(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), 0, part * 4, offset + from * 4)
        }
        end = offset + count * 4
        locations.set(name, { file, offset, bytes: count * 4 })
      }
    } finally {
      await handle.close()
    }
  }
  return {
    digest: 'random',
    specs: new Map([...shapes].map(([name, shape]) => [name, { name, shape }])),
    folder,
    read: (name) => unreachable(`${name} is mapped, never read`),
    locate: (name) => locations.get(name) ?? null,
  }
}
