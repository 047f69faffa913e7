/**
 * @file The reference backend: every op by its own float64 kernel, in order. Slow, exact, and needs nothing installed.
 *
 * Tensors are rounded to float32 where they enter and leave; handles keep float64.
 */
import { unreachable } from '../errors.js'
import type { Graph } from '../graph/data.js'
import { evaluateShape } from '../graph/dims.js'
import { byName, findOp } from '../graph/graph.js'
import { NdArray } from '../graph/ndarray.js'
import { ops } from '../graph/ops/index.js'
import { f32, i32, type Tensor } from '../tensor.js'
import { epochMicros, silentTrace, type Trace } from '../trace.js'
import { isHandle, type Backend, type CompileOptions, type Handle, type Program, type Results, type RunOptions } from './backend.js'
import { bindInputs } from './bindings.js'
import type { WeightStore } from './weights.js'

interface ReferenceOptions {
  /** Computes in the caller's thread, whatever they are. */
  readonly threads?: number | readonly number[]
  /** Is told what ran when; a program has this thread to itself, so the time that passes is what it takes. */
  readonly trace?: Trace
}

export function referenceBackend({ trace = silentTrace }: ReferenceOptions = {}): Backend {
  const kept = new Map<number, NdArray>()
  let lastHandle = 0

  const keep = (array: NdArray, lane: number): Handle => {
    kept.set(++lastHandle, array)
    return { kind: 'handle', shape: array.shape, lane, id: lastHandle }
  }
  const open = (handle: Handle): NdArray => kept.get(handle.id) ?? unreachable(`handle ${handle.id} was released`)

  return {
    name: 'reference',
    lanes: 1,
    async compile(graph: Graph, weights: WeightStore, { name, lane = 0 }: CompileOptions): Promise<Program> {
      const frozen = await readWeights(graph, weights)
      return {
        async run(inputs: Readonly<Record<string, Tensor | Handle>>, options: RunOptions = {}): Promise<Results> {
          const startMicros = epochMicros()
          const arrays = new Map<string, NdArray>()
          for (const [key, value] of Object.entries(inputs)) {
            if (isHandle(value) && value.lane !== lane)
              throw new Error(`${name}: input ${key} is a handle of lane ${value.lane}, and this program is in lane ${lane}`)
            arrays.set(key, isHandle(value) ? open(value) : NdArray.from(value.shape, value.data))
          }
          const bindings = bindInputs(graph, inputs, name)
          const values = evaluate(graph, bindings, (source) =>
            source.kind === 'input' ? arrays.get(source.name)! : frozen.get(source.name)!,
          )
          const results: Record<string, Tensor | Handle> = {}
          for (const [key, id] of graph.outputs) {
            if (options.ignore?.includes(key)) continue
            const array = values[id]
            results[key] = options.keep?.includes(key) ? keep(array, lane) : round(array, graph.values[id].dtype)
          }
          const endMicros = epochMicros()
          trace.ran(lane, name, { startMicros, endMicros, processorMicros: endMicros - startMicros })
          return results
        },
        async dispose() {},
      }
    },
    async read(handle) {
      return round(open(handle), 'f32')
    },
    async release(handles) {
      for (const handle of handles) if (!kept.delete(handle.id)) unreachable(`handle ${handle.id} was released twice`)
    },
    // A program has been run by the time that anyone can ask.
    queued: () => 0,
    liveHandles: () => kept.size,
    async dispose() {
      kept.clear()
    },
  }
}

async function readWeights(graph: Graph, weights: WeightStore): Promise<Map<string, NdArray>> {
  const found = new Map<string, NdArray>()
  for (const { source, shape } of graph.values)
    if (source.kind === 'weight' && !found.has(source.name))
      found.set(source.name, NdArray.from(shape as readonly number[], await weights.read(source.name)))
  return found
}

/** Computes every value of a graph. Exported for op tests, which work in float64 throughout. */
export function evaluate(
  graph: Graph,
  bindings: ReadonlyMap<string, number>,
  leaf: (source: { kind: 'input' | 'weight'; name: string }) => NdArray,
): readonly NdArray[] {
  const values: NdArray[] = []
  graph.values.forEach(({ source, shape }, id) => {
    if (source.kind === 'constant') values[id] = NdArray.from(shape as readonly number[], source.data)
    else if (source.kind !== 'node') values[id] = leaf(source)
  })
  for (const node of graph.nodes) {
    const op = findOp(ops, node.op)
    const shapes = node.outputs.map((id) => evaluateShape(graph.values[id].shape, bindings))
    const inputs = byName(
      op,
      node.inputs.map((id) => (id === null ? null : values[id])),
    )
    const results = [op.reference(inputs, node.attributes, shapes)].flat() as NdArray[]
    node.outputs.forEach((id, output) => (values[id] = results[output]!))
  }
  return values
}

function round(array: NdArray, dtype: 'f32' | 'i32'): Tensor {
  return dtype === 'f32' ? f32(array.shape, Float32Array.from(array.data)) : i32(array.shape, Int32Array.from(array.data))
}
