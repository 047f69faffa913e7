/**
 * @file Where a program's frozen weights come from. One store serves every program of a process.
 */
import { unreachable } from '../errors.js'
import { dequantize, mapMatrix, MatrixQuantizer, type Direction, type QuantizedMatrix } from './blocks.js'

/** How frozen weights are kept: as float32, or their matrices in 8-bit blocks. */
export const PRECISIONS = ['fp32', 'q8'] as const
export type Precision = (typeof PRECISIONS)[number]

export interface WeightSpec {
  readonly name: string
  readonly shape: readonly number[]
}

/** The place of a weight, or of a part of one, in a file of the prepared-weights cache: little-endian and row-major. */
export interface WeightLocation {
  /** File name inside the store's folder, without a path. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
}

/** Bytes in memory or in a file. */
export type WeightContent = { readonly raw: Uint8Array } | WeightLocation

export interface WeightStore {
  readonly precision: Precision
  /** Changes whenever any weight's bytes do; part of the key of compiled programs. */
  readonly digest: string
  /** Checkpoint names as the model folder has them, in file order. */
  readonly specs: ReadonlyMap<string, WeightSpec>
  /** The folder of the prepared files, or null where weights only exist in memory (browser, tests). */
  readonly folder: string | null
  /**
   * The weight's numbers; of one in blocks, what they stand for.
   * @throws UserError TENSOR_MISSING for a name the store does not hold.
   */
  read(name: string): Promise<Float32Array>
  /** Where the weight lies in `folder` as float32; null for a store in memory, and for a weight in blocks. */
  locate(name: string): WeightLocation | null
  /** A weight in blocks; null for one that is kept as float32. */
  quantized(name: string): QuantizedMatrix<WeightContent> | null
}

/** A store in memory: for tests, and for models that are about to be trained from scratch. */
export function memoryWeights(tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>, digest: string): WeightStore {
  return {
    precision: 'fp32',
    digest,
    specs: new Map([...tensors].map(([name, { shape }]) => [name, { name, shape }])),
    folder: null,
    async read(name) {
      const tensor = tensors.get(name)
      if (!tensor) throw new Error(`no weight called ${name}`)
      return tensor.data
    },
    locate: () => null,
    quantized: () => null,
  }
}

/** The same weights with some matrices in 8-bit blocks, all in memory. @param matrices by name, with the direction of their primary blocks */
export async function quantizedWeights(store: WeightStore, matrices: ReadonlyMap<string, Direction>): Promise<WeightStore> {
  const quantized = new Map<string, QuantizedMatrix<{ readonly raw: Uint8Array }>>()
  const numbers = new Map<string, Float32Array>()
  for (const [name, primary] of matrices) {
    const [rows, columns] = store.specs.get(name)?.shape ?? unreachable(`no weight called ${name}`)
    const quantizer = new MatrixQuantizer(rows, columns, primary)
    quantizer.add(await store.read(name))
    const matrix = quantizer.finish()
    quantized.set(
      name,
      mapMatrix(matrix, (raw) => ({ raw })),
    )
    numbers.set(name, dequantize(matrix[primary], [rows, columns], primary))
  }
  return {
    ...store,
    precision: 'q8',
    digest: `${store.digest}-q8`,
    folder: null,
    read: async (name) => numbers.get(name) ?? store.read(name),
    locate: () => null,
    quantized: (name) => quantized.get(name) ?? null,
  }
}
