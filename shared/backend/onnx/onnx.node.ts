/**
 * @file The ONNX Runtime backend: graphs become ONNX models, which run in worker threads, one per lane.
 */
import type { TransferListItem } from 'node:worker_threads'
import { unreachable } from '../../errors.js'
import { graphInputs, type Graph } from '../../graph/data.js'
import type { Tensor } from '../../tensor.js'
import { silentTrace, type Trace } from '../../trace.js'
import { isHandle, type Backend, type CompileOptions, type Handle, type Program, type Results, type RunOptions } from '../backend.js'
import { bindInputs } from '../bindings.js'
import type { WeightStore } from '../weights.js'
import { WorkerLane } from './lane.node.js'
import { inputName, lowerGraph } from './model.js'
import { placeWeights } from './weight-content.node.js'
import type { Feed } from './worker-messages.js'

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
  const lanes = Array.from({ length: options.lanes }, (_, index) => {
    return new WorkerLane(index, { ...setup, threads: typeof threads === 'number' ? threads : threads[index]! })
  })
  const live = new Map<number, WorkerLane>()
  const cleanups = new Set<() => Promise<void>>()
  let lastProgram = 0
  let lastHandle = 0

  const open = (handle: Handle): WorkerLane => live.get(handle.id) ?? unreachable(`handle ${handle.id} was released`)

  return {
    name: 'onnx',
    lanes: lanes.length,

    async compile(graph: Graph, weights: WeightStore, compileOptions: CompileOptions): Promise<Program> {
      const { name, lane: index = 0, prepack = false, keepsMemory = false } = compileOptions
      if (graph.outputs.size === 0) return emptyProgram(graph, name)
      const lane = lanes[index % lanes.length]
      const program = ++lastProgram
      const placed = await placeWeights(graph, weights, options)
      cleanups.add(placed.dispose)
      // Only weights that are laid out for it are multiplied in codes.
      const model = lowerGraph(graph, name, (weight) => placed.content.get(weight)!, { prepack })
      const inputs = [...graphInputs(graph).keys()]
      try {
        const { times } = await lane.call({ type: 'compile', program, bytes: model.bytes, folder: placed.folder, prepack, keepsMemory }, [
          model.bytes.buffer as ArrayBuffer,
        ])
        if (times) trace.ran(lane.index, `compile ${name}`, times)
      } catch (error) {
        throw error instanceof Error && error.name === 'Error' ? new Error(`${name}: ${error.message}`, { cause: error }) : error
      }

      const run = async (
        given: Readonly<Record<string, Tensor | Handle>>,
        { keep = [], ignore = [] }: RunOptions = {},
      ): Promise<Results> => {
        bindInputs(graph, given, name)
        const feeds: Record<string, Feed> = {}
        const moved: TransferListItem[] = []
        for (const key of inputs) {
          const value = given[key]
          if (isHandle(value)) {
            if (value.lane !== index)
              throw new Error(`${name}: input ${key} is a handle of lane ${value.lane}, and this program is in lane ${index}`)
            open(value)
            feeds[inputName(key)] = { kind: 'handle', id: value.id }
          } else {
            const tensor = copy(value)
            feeds[inputName(key)] = { kind: 'tensor', tensor }
            moved.push(tensor.data.buffer as ArrayBuffer)
          }
        }
        const wanted = [...model.outputs].filter(([key]) => !ignore.includes(key))
        const keeps = wanted.filter(([key]) => keep.includes(key)).map(([key, output]) => ({ key, name: output, id: ++lastHandle }))
        const returns = new Map(wanted.filter(([key]) => !keep.includes(key)))
        const request = { type: 'run', program, feeds, keeps, returns: [...new Set(returns.values())] } as const
        const { tensors, shapes, times } = await lane.call(request, moved).catch((error: Error) => {
          throw new Error(`${name}: ${error.message}`, { cause: error })
        })
        if (times) trace.ran(lane.index, name, times)
        const results: Record<string, Tensor | Handle> = {}
        for (const [key, output] of returns) results[key] = tensors[output]!
        for (const { key, name: output, id } of keeps) {
          live.set(id, lane)
          results[key] = { kind: 'handle', shape: shapes[output], lane: index, id }
        }
        return results
      }

      return {
        run,
        async dispose() {
          if (!cleanups.delete(placed.dispose)) return
          await lane.call({ type: 'dispose', program })
          await placed.dispose()
        },
      }
    },

    async read(handle) {
      return (await open(handle).call({ type: 'read', id: handle.id })).tensors['']
    },

    async release(handles) {
      const byLane = new Map<WorkerLane, number[]>()
      for (const handle of handles) {
        const lane = open(handle)
        live.delete(handle.id)
        byLane.set(lane, [...(byLane.get(lane) ?? []), handle.id])
      }
      await Promise.all([...byLane].map(([lane, ids]) => lane.call({ type: 'release', ids })))
    },

    queued: (lane) => lanes[lane % lanes.length].queued,

    liveHandles: () => live.size,

    async dispose() {
      await Promise.all(lanes.map((lane) => lane.close()))
      live.clear()
      await Promise.all([...cleanups].map((cleanup) => cleanup()))
      cleanups.clear()
    },
  }
}

/** The runtime refuses a model without outputs, as the bottom of a cut at 0 has for its backward pass. */
function emptyProgram(graph: Graph, name: string): Program {
  return {
    async run(given) {
      bindInputs(graph, given, name)
      return {}
    },
    async dispose() {},
  }
}

/** Moved to the worker instead of the caller's own array. A slice, too, of what may be a small view of a large buffer. */
function copy(tensor: Tensor): Tensor {
  return tensor.dtype === 'f32' ? { ...tensor, data: tensor.data.slice() } : { ...tensor, data: tensor.data.slice() }
}
