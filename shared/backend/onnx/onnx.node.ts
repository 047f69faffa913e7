/**
 * @file The ONNX Runtime backend: graphs become ONNX models, which run in worker threads, one per lane.
 */
import { UserError } from '../../errors.js'
import { silentTrace, type Trace } from '../../trace.js'
import { workerUrl } from '../../worker-url.node.js'
import type { Backend } from '../backend.js'
import { lanedBackend } from '../lanes/backend.node.js'
import { Lane } from '../lanes/lane.node.js'
import { inThread } from '../lanes/worker-host.node.js'
import { inputName, lowerGraph } from './model.js'
import { placeWeights } from './weight-content.node.js'
import type { WorkerModel, WorkerSetup } from './worker-setup.js'

export interface OnnxOptions {
  /** Threads that compute one op, in each lane; a list: in each by its number. */
  readonly threads: number | readonly number[]
  /** How many programs may run at the same time. A program's lane beyond the last shares a worker: lane modulo this. */
  readonly lanes: number
  /** Idle threads poll for work: a little faster alone on the machine, far slower beside other processes. Off by default. */
  readonly spinning?: boolean
  /** Where weights of a store in memory are written if they are too large for a model file; the system's temporary folder by default. */
  readonly temporaryFolder?: string
  /** How large such weights may be together and still go into the model file. */
  readonly inlineLimitBytes?: number
  /** Prefix of profiles that ONNX Runtime writes, one for each program, when it is disposed. */
  readonly profile?: string
  /** Is told what ran when, and what it took. */
  readonly trace?: Trace
}

/**
 * Nothing is loaded or started before the first `compile`. Its threads keep the process alive only while a call is pending.
 */
export function onnxBackend(options: OnnxOptions): Backend {
  const { threads, spinning = false, profile = null, trace = silentTrace } = options
  const setup = { engine: 'onnxruntime-node', spinning, profile, traced: trace.isOn }
  return lanedBackend<WorkerModel>({
    name: 'onnx',
    lanes: Array.from({ length: options.lanes }, (_, index) => {
      return onnxLane(index, { ...setup, threads: typeof threads === 'number' ? threads : threads[index]! })
    }),
    trace,
    async prepare(graph, weights, { name, prepack = false, keepsMemory = false }) {
      const { content, folder, dispose } = await placeWeights(graph, weights, options)
      // Only weights that are laid out for it are multiplied in codes.
      const { bytes, outputs } = lowerGraph(graph, name, (weight) => content.get(weight)!, { prepack })
      return { model: { bytes, folder, prepack, keepsMemory }, moved: [bytes.buffer as ArrayBuffer], inputName, outputs, dispose }
    },
  })
}

export function onnxLane(index: number, setup: WorkerSetup): Lane<WorkerModel> {
  // From 1.29 on its builds for Linux and macOS tell their maker of every model, and keep an identifier of the machine, unless the process's environment says
  // this before the library is loaded. A worker's own environment would be a copy.
  process.env.ORT_DISABLE_TELEMETRY = '1'
  return new Lane(index, {
    engine: 'ONNX Runtime',
    start: inThread(workerUrl('onnx-worker.node.js', import.meta.url), setup),
    missing: (why) =>
      new UserError({
        code: 'ENGINE_UNAVAILABLE',
        what: 'the engine onnx cannot be loaded',
        why: `${setup.engine}: ${why.split('\n')[0]}`,
        fix: 'run `npm ci` again, on Linux (glibc), macOS (arm64) or Windows; or set model.engine to reference, which is slow and needs nothing installed',
      }),
  })
}
