/**
 * @file Where a program's frozen weights come from. One store serves every program of a process.
 */
export interface WeightSpec {
  readonly name: string
  readonly shape: readonly number[]
}

/** A weight's place in a file of the prepared-weights cache: little-endian f32, row-major. */
export interface WeightLocation {
  /** File name inside the store's folder, without a path. */
  readonly file: string
  readonly offset: number
  readonly bytes: number
}

export interface WeightStore {
  /** Changes whenever any weight's bytes do; part of the key of compiled programs. */
  readonly digest: string
  /** Checkpoint names as the model folder has them, in file order. */
  readonly specs: ReadonlyMap<string, WeightSpec>
  /** The folder of the prepared files, or null where weights only exist in memory (browser, tests). */
  readonly folder: string | null
  /** @throws UserError TENSOR_MISSING for a name the store does not hold. */
  read(name: string): Promise<Float32Array>
  /** Where the weight lies in `folder`; null for a store in memory. */
  locate(name: string): WeightLocation | null
}

/** A store in memory: for tests, and for models that are about to be trained from scratch. */
export function memoryWeights(tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>, digest: string): WeightStore {
  return {
    digest,
    specs: new Map([...tensors].map(([name, { shape }]) => [name, { name, shape }])),
    folder: null,
    async read(name) {
      const tensor = tensors.get(name)
      if (!tensor) throw new Error(`no weight called ${name}`)
      return tensor.data
    },
    locate: () => null,
  }
}
