/**
 * @file The TensorFlow.js backend: graphs run op by op in workers, one per lane.
 */
import { resolve } from 'node:path'
import { UserError } from '../../errors.js'
import { graphWeights, type Graph } from '../../graph/data.js'
import { silentTrace, type Trace } from '../../trace.js'
import { workerUrl } from '../../worker-url.node.js'
import type { Backend } from '../backend.js'
import { lanedBackend } from '../lanes/backend.node.js'
import { Lane } from '../lanes/lane.node.js'
import { inProcess, inThread } from '../lanes/worker-host.node.js'
import type { WeightStore } from '../weights.js'
import { findTfjs, type FoundTfjs } from './kinds.node.js'
import type { WorkerModel, WorkerSetup, WorkerWeight } from './worker-setup.js'

export interface TfjsOptions {
  /** Threads that compute one op, in each lane; a list: in each by its number. WASM and the plain back end have one. */
  readonly threads: number | readonly number[]
  /** How many programs may run at the same time. A program's lane beyond the last shares a worker: lane modulo this. */
  readonly lanes: number
  /** Is told what ran when, and what it took. */
  readonly trace?: Trace
  /** Which TensorFlow.js; the best that is there by default. */
  readonly found?: FoundTfjs
  /** Whether calls fail that leave a tensor which nothing holds. For tests. */
  readonly countsTensors?: boolean
}

/**
 * Nothing is loaded or started before the first `compile`. Its workers keep the process alive only while a call is pending.
 * @throws UserError as `findTfjs` does
 */
export function tfjsBackend({
  threads,
  lanes,
  trace = silentTrace,
  found = findTfjs(process.env),
  countsTensors = false,
}: TfjsOptions): Backend {
  const setup: WorkerSetup = { ...found, traced: trace.isOn, countsTensors }
  return lanedBackend<WorkerModel>({
    name: 'tfjs',
    lanes: Array.from({ length: lanes }, (_, index) => tfjsLane(index, setup, typeof threads === 'number' ? threads : threads[index]!)),
    trace,
    async prepare(graph, weights) {
      return {
        model: { graph: { ...graph, marks: new Map() }, weights: await weightsOf(graph, weights) },
        moved: [],
        inputName: (name) => name,
        outputs: new Map([...graph.outputs].map(([name, id]) => [name, String(id)])),
        dispose: async () => {},
      }
    },
  })
}

export function tfjsLane(index: number, setup: WorkerSetup, threads: number): Lane<WorkerModel> {
  const url = workerUrl('tfjs-worker.node.js', import.meta.url)
  return new Lane(index, {
    engine: 'TensorFlow.js',
    start: setup.kind === 'native' ? inProcess(url, setup, nativeEnvironment(threads)) : inThread(url, setup),
    missing: (why) => engineMissing(setup, why),
  })
}

/** What TensorFlow reads when it is loaded. A user's own settings count. */
function nativeEnvironment(threads: number): Record<string, string> {
  const defaults = {
    TF_NUM_INTRAOP_THREADS: String(threads),
    TF_NUM_INTEROP_THREADS: '1',
    // oneDNN's products give a row the same bits alone as in a batch; TensorFlow's own do not for narrow ones, as LoRA has them.
    TF_ENABLE_ONEDNN_OPTS: '1',
    // What it says at its start is about what this machine lacks for other uses; what a call meets comes as that call's error.
    TF_CPP_MIN_LOG_LEVEL: '3',
  }
  return {
    ...defaults,
    ...Object.fromEntries(Object.keys(defaults).flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
  }
}

/** Weights on disk are read there by the worker; weights in blocks go as the numbers that they stand for. */
async function weightsOf(graph: Graph, store: WeightStore): Promise<WorkerModel['weights']> {
  const weights = new Map<string, WorkerWeight>()
  for (const [name, { shape }] of graphWeights(graph)) {
    const place = store.folder === null ? null : store.locate(name)
    const file = place && { path: resolve(store.folder!, place.file), offset: place.offset, bytes: place.bytes }
    weights.set(name, {
      key: file ? `${file.path} ${file.offset}` : `${numberOf(store)} ${name}`,
      shape: shape as readonly number[],
      content: file ?? (await store.read(name)),
    })
  }
  return weights
}

const stores = new WeakMap<WeightStore, number>()
let lastStore = 0

function numberOf(store: WeightStore): number {
  const known = stores.get(store) ?? ++lastStore
  stores.set(store, known)
  return known
}

function engineMissing({ kind }: WorkerSetup, why: string): UserError {
  return new UserError({
    code: 'ENGINE_UNAVAILABLE',
    what: 'the engine tfjs cannot be loaded',
    why: `TensorFlow.js (${kind}): ${why.split('\n')[0]}`,
    fix:
      kind === 'native'
        ? 'run `cutlayer engine install tfjs --force`, or set CUTLAYER_TFJS to wasm'
        : 'run `npm ci` again; or set model.engine to onnx',
  })
}
