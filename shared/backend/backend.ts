/**
 * @file What an engine is: it compiles graphs to programs and runs them. Every backend passes `contract.ts`.
 */
import type { Graph } from '../graph/data.js'
import type { Tensor } from '../tensor.js'
import type { WeightStore } from './weights.js'

/** What a program's result may be instead of numbers: a reference that only its own backend, in the same lane, can use. */
export interface Handle {
  readonly kind: 'handle'
  readonly shape: readonly number[]
  readonly lane: number
  readonly id: number
}

export interface CompileOptions {
  /** For error messages, traces and file names, as `bottom-forward`. */
  readonly name: string
  /**
   * Which worker the program lives in, from 0. Handles pass only between programs of one lane; different lanes run at the same time.
   */
  readonly lane?: number
  /**
   * Spends memory on weights laid out for speed. Prepacked and plain products differ in the last bits, so this is chosen by the program's
   * role, never by the link that a run uses.
   */
  readonly prepack?: boolean
  /** Keeps the memory that a run took for the next; else it goes back to the system. */
  readonly keepsMemory?: boolean
}

export interface RunOptions {
  /** Outputs to keep as handles; all others come back as tensors. */
  readonly keep?: readonly string[]
  /** Outputs to drop unread. */
  readonly ignore?: readonly string[]
}

export type Results = Readonly<Record<string, Tensor | Handle>>

export interface Program {
  /**
   * @param inputs every input of the graph by name: a tensor, or a handle that a program of the same lane kept. Dimensions
   *   named by symbols may differ from run to run, but agree within one.
   * @throws Error (a bug) on a missing input, a wrong dtype, or shapes that do not agree.
   */
  run(inputs: Readonly<Record<string, Tensor | Handle>>, options?: RunOptions): Promise<Results>
  dispose(): Promise<void>
}

/** What `model.engine` and `--engine` may name. */
export const ENGINE_NAMES = ['onnx', 'tfjs', 'reference'] as const
export type EngineName = (typeof ENGINE_NAMES)[number]

export interface Backend {
  readonly name: EngineName
  /** How many programs may run at the same time. */
  readonly lanes: number
  compile(graph: Graph, weights: WeightStore, options: CompileOptions): Promise<Program>
  read(handle: Handle): Promise<Tensor>
  /** Frees what handles hold. A handle may be disposed once. */
  release(handles: readonly Handle[]): Promise<void>
  /** Calls that a lane was given and has not answered: what comes next waits for them. */
  queued(lane: number): number
  /** Handles kept and not yet released, over all lanes. */
  liveHandles(): number
  dispose(): Promise<void>
}

export function isHandle(value: Tensor | Handle | undefined): value is Handle {
  return value !== undefined && 'kind' in value
}

/** The results of a run that must be tensors. */
export function tensorsOf(results: Results, names: readonly string[]): Tensor[] {
  return names.map((name) => {
    const value = results[name]
    if (!value || isHandle(value)) throw new Error(`the program returned no tensor called ${name}`)
    return value
  })
}
