/**
 * @file What a worker of ONNX Runtime is started with, and what it makes a program of.
 */

export interface WorkerSetup {
  /** The package to load, so that its absence can be tested. */
  readonly engine: string
  /** Threads that compute one op. */
  readonly threads: number
  /** Threads wait for work by polling: faster alone, slower beside other processes. */
  readonly spinning: boolean
  /** Prefix of the files that ONNX Runtime's profiler writes, or null for none. */
  readonly profile: string | null
  /** Whether answers are to say when a program ran and what it took. */
  readonly traced: boolean
}

export interface WorkerModel {
  /** An ONNX model. */
  readonly bytes: Uint8Array
  /** Where its external data is. */
  readonly folder: string | null
  readonly prepack: boolean
  readonly keepsMemory: boolean
}
