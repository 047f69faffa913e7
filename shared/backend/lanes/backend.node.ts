/**
 * @file A backend whose programs live in workers, one per lane: what it does is the same for each engine that blocks its thread.
 */
import type { TransferListItem } from 'node:worker_threads'
import { unreachable } from '../../errors.js'
import { graphInputs, type Graph } from '../../graph/data.js'
import type { Tensor } from '../../tensor.js'
import type { Trace } from '../../trace.js'
import { isHandle, type Backend, type CompileOptions, type Handle, type Program, type Results, type RunOptions } from '../backend.js'
import { bindInputs } from '../bindings.js'
import type { WeightStore } from '../weights.js'
import type { Lane } from './lane.node.js'
import type { Feed } from './messages.js'

/** A graph made ready for a worker. */
export interface Prepared<Model> {
  readonly model: Model
  /** Buffers of the model that it gives up. */
  readonly moved: readonly TransferListItem[]
  /** The engine's name of an input of the graph. */
  inputName(name: string): string
  /** The engine's name of each output of the graph; two may share one. */
  readonly outputs: ReadonlyMap<string, string>
  /** Removes what was made for this program only. */
  dispose(): Promise<void>
}

export interface LanedEngine<Model> {
  readonly name: Backend['name']
  readonly lanes: readonly Lane<Model>[]
  readonly trace: Trace
  prepare(graph: Graph, weights: WeightStore, options: CompileOptions): Promise<Prepared<Model>>
}

/** Nothing is started before the first `compile`. Workers keep the process alive only while a call is pending. */
export function lanedBackend<Model>({ name: engineName, lanes, trace, prepare }: LanedEngine<Model>): Backend {
  const live = new Map<number, Lane<Model>>()
  const cleanups = new Set<() => Promise<void>>()
  let lastProgram = 0
  let lastHandle = 0

  const open = (handle: Handle): Lane<Model> => live.get(handle.id) ?? unreachable(`handle ${handle.id} was released`)

  return {
    name: engineName,
    lanes: lanes.length,

    async compile(graph: Graph, weights: WeightStore, options: CompileOptions): Promise<Program> {
      const { name, lane: index = 0 } = options
      if (graph.outputs.size === 0) return emptyProgram(graph, name)
      const lane = lanes[index % lanes.length]!
      const program = ++lastProgram
      const { model, moved: modelParts, inputName, outputs, dispose: cleanUp } = await prepare(graph, weights, options)
      cleanups.add(cleanUp)
      const inputs = [...graphInputs(graph).keys()]
      try {
        const { times } = await lane.call({ type: 'compile', program, model }, modelParts)
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
        const wanted = [...outputs].filter(([key]) => !ignore.includes(key))
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
          results[key] = { kind: 'handle', shape: shapes[output]!, lane: index, id }
        }
        return results
      }

      return {
        run,
        async dispose() {
          if (!cleanups.delete(cleanUp)) return
          await lane.call({ type: 'dispose', program })
          await cleanUp()
        },
      }
    },

    async read(handle) {
      return (await open(handle).call({ type: 'read', id: handle.id })).tensors['']!
    },

    async release(handles) {
      const byLane = new Map<Lane<Model>, number[]>()
      for (const handle of handles) {
        const lane = open(handle)
        live.delete(handle.id)
        byLane.set(lane, [...(byLane.get(lane) ?? []), handle.id])
      }
      await Promise.all([...byLane].map(([lane, ids]) => lane.call({ type: 'release', ids })))
    },

    queued: (lane) => lanes[lane % lanes.length]!.queued,

    liveHandles: () => live.size,

    async dispose() {
      await Promise.all(lanes.map((lane) => lane.close()))
      live.clear()
      await Promise.all([...cleanups].map((cleanUp) => cleanUp()))
      cleanups.clear()
    },
  }
}

/** Has no worker: an engine may refuse a model without outputs, as the bottom of a cut at 0 has for its backward pass. */
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
