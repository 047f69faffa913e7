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

  /** Each of them, read if no program holds it yet. They go back by `release`. */
  take(tf: Tf, weights: ReadonlyMap<string, WorkerWeight>): Map<string, TfTensor> {
    const taken = new Map<string, TfTensor>()
    for (const [name, { key, shape, content }] of weights) {
      const known = this.shared.get(key)
      const numbers = content instanceof Float32Array ? content : known ? null : readNumbers(content)
      const held = known ?? { tensor: tf.tensor(numbers!, [...shape], 'float32'), programs: 0 }
      held.programs++
      this.shared.set(key, held)
      taken.set(name, held.tensor)
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
