/**
 * @file What the backend and its workers say to each other.
 */
import type { Tensor } from '../../tensor.js'
import type { RunTimes } from '../../trace.js'

/** What a worker is started with. */
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

export type Feed = { readonly kind: 'tensor'; readonly tensor: Tensor } | { readonly kind: 'handle'; readonly id: number }

export type Request =
  | {
      readonly type: 'compile'
      readonly program: number
      readonly bytes: Uint8Array
      readonly folder: string | null
      readonly prepack: boolean
      readonly keepsMemory: boolean
    }
  | {
      readonly type: 'run'
      readonly program: number
      /** By ONNX name. */
      readonly feeds: Readonly<Record<string, Feed>>
      /** ONNX names to send back. */
      readonly returns: readonly string[]
      /** ONNX names to keep, each under these handle ids. */
      readonly keeps: readonly { readonly name: string; readonly id: number }[]
    }
  | { readonly type: 'read'; readonly id: number }
  | { readonly type: 'release'; readonly ids: readonly number[] }
  | { readonly type: 'dispose'; readonly program: number }
  | { readonly type: 'close' }

/** `tensors` answer `run` (by ONNX name) and `read` (one, named ''); `shapes` are those of kept values, by ONNX name. */
export interface Answer {
  readonly tensors: Readonly<Record<string, Tensor>>
  readonly shapes: Readonly<Record<string, readonly number[]>>
  /** Of `compile` and `run`, in a worker that is traced. */
  readonly times?: RunTimes
}

export interface Call {
  readonly call: number
  readonly request: Request
}

export type Reply =
  | { readonly call: number; readonly answer: Answer }
  /** `missing`: the engine could not be loaded at all. */
  | { readonly call: number; readonly error: string; readonly missing: boolean }
