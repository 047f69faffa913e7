/**
 * @file What a backend and the workers that compute for it say to each other.
 */
import type { Tensor } from '../../tensor.js'
import type { RunTimes } from '../../trace.js'

export type Feed = { readonly kind: 'tensor'; readonly tensor: Tensor } | { readonly kind: 'handle'; readonly id: number }

/** `Model` is what the engine makes a program of. */
export type Request<Model> =
  | { readonly type: 'compile'; readonly program: number; readonly model: Model }
  | RunRequest
  | { readonly type: 'read'; readonly id: number }
  | { readonly type: 'release'; readonly ids: readonly number[] }
  | { readonly type: 'dispose'; readonly program: number }
  | { readonly type: 'close' }

/** Values go by the names that the engine has for them. */
export interface RunRequest {
  readonly type: 'run'
  readonly program: number
  readonly feeds: Readonly<Record<string, Feed>>
  /** To send back. */
  readonly returns: readonly string[]
  /** To keep, each under these handle ids. */
  readonly keeps: readonly { readonly name: string; readonly id: number }[]
}

/** `tensors` answer `run` (by name) and `read` (one, named ''); `shapes` are those of kept values. */
export interface Answer {
  readonly tensors: Readonly<Record<string, Tensor>>
  readonly shapes: Readonly<Record<string, readonly number[]>>
  /** Of `compile` and `run`, in a worker that is traced. */
  readonly times?: RunTimes
}

export interface Call<Model> {
  readonly call: number
  readonly request: Request<Model>
}

export type Reply =
  | { readonly call: number; readonly answer: Answer }
  /** `missing`: the engine could not be loaded at all. */
  | { readonly call: number; readonly error: string; readonly missing: boolean }
