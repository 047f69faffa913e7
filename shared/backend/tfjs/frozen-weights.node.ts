/**
 * @file The frozen weights of a lane: one tensor for all programs that read it.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { unreachable } from '../../errors.js'
import type { Tf, TfTensor } from './kernels.js'
import type { WeightFile, WorkerWeight } from './worker-setup.js'

interface Shared {
  readonly tensor: TfTensor
  programs: number
}

export class FrozenWeights {
  private readonly shared = new Map<string, Shared>()

  get count(): number {
    return this.shared.size
  }

  /** Each of them, read if no program holds it yet. They go back by `release`; if one cannot be read, none is held. */
  take(tf: Tf, weights: ReadonlyMap<string, WorkerWeight>): Map<string, TfTensor> {
    const taken = new Map<string, TfTensor>()
    const held = new Map<string, WorkerWeight>()
    try {
      for (const [name, weight] of weights) {
        const shared = this.shared.get(weight.key) ?? { tensor: read(tf, weight), programs: 0 }
        shared.programs++
        this.shared.set(weight.key, shared)
        held.set(name, weight)
        taken.set(name, shared.tensor)
      }
    } catch (error) {
      this.release(held)
      throw error
    }
    return taken
  }

  release(weights: ReadonlyMap<string, WorkerWeight>): void {
    for (const { key } of weights.values()) {
      const held = this.shared.get(key) ?? unreachable(`weight ${key} is not held`)
      if (--held.programs > 0) continue
      held.tensor.dispose()
      this.shared.delete(key)
    }
  }
}

function read(tf: Tf, { shape, content }: WorkerWeight): TfTensor {
  return tf.tensor(content instanceof Float32Array ? content : readNumbers(content), [...shape], 'float32')
}

function readNumbers({ path, offset, bytes }: WeightFile): Float32Array {
  const numbers = new Float32Array(bytes / 4)
  const file = openSync(path, 'r')
  try {
    for (let done = 0; done < bytes;) {
      const read = readSync(file, new Uint8Array(numbers.buffer, done), 0, Math.min(bytes - done, PIECE_BYTES), offset + done)
      if (read === 0) throw new Error(`${path} ends before byte ${offset + bytes}`)
      done += read
    }
  } finally {
    closeSync(file)
  }
  return numbers
}

/** The system reads no more than 2 GiB at a time. */
const PIECE_BYTES = 2 ** 30
