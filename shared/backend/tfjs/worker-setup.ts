/**
 * @file What a worker of TensorFlow.js is started with, and what it makes a program of.
 */
import type { Graph } from '../../graph/data.js'

/** Fastest first. native: @tensorflow/tfjs-node-gpu with TensorFlow's library; wasm: WebAssembly; cpu: plain JavaScript. */
export const TFJS_KINDS = ['native', 'wasm', 'cpu'] as const
export type TfjsKind = (typeof TFJS_KINDS)[number]

/** No dependency, since its install script downloads: so it is looked for, and never imported by name. */
export const NATIVE_PACKAGE = '@tensorflow/tfjs-node-gpu'

export interface WorkerSetup {
  readonly kind: TfjsKind
  /** The file or folder from which packages are resolved. */
  readonly from: string
  /** Whether answers are to say when a program ran and what it took. */
  readonly traced: boolean
  /** Whether each call counts the tensors that are left, and fails if there is one that nothing holds. For tests. */
  readonly countsTensors: boolean
}

export interface WorkerModel {
  readonly graph: Graph
  readonly weights: ReadonlyMap<string, WorkerWeight>
}

/** A frozen weight as float32. */
export interface WorkerWeight {
  /** Programs of one lane share the tensors of equal keys. */
  readonly key: string
  readonly shape: readonly number[]
  readonly content: Float32Array | WeightFile
}

/** Bytes of a file: little-endian and row-major. */
export interface WeightFile {
  readonly path: string
  readonly offset: number
  readonly bytes: number
}
