/**
 * @file Splits a joint graph into a forward and a backward program, and chooses what the first keeps for the second.
 *
 * The choice is a minimum cut: a value costs its size to keep, heavy results cannot be computed again, cheap ones can.
 * Source of the idea: He & Yu 2023, "Transcending Runtime-Memory Tradeoffs in Checkpointing by being Fusion Aware", MLSys.
 */
import type { Graph, ValueId } from './data.js'
import { dimSymbols, evaluateShape, type Bindings } from './dims.js'
import { extract } from './extract.js'
import { findOp } from './graph.js'
import { minimumCut, type Edge } from './min-cut.js'
import { ops } from './ops/index.js'
import { elements } from '../tensor.js'

export interface Partition {
  /** The joint graph's forward outputs, and the `saved` ones. */
  readonly forward: Graph
  /** Takes the saved values, the tangents, and those original inputs that it needs again. */
  readonly backward: Graph
  readonly saved: readonly string[]
}

export interface PartitionOptions {
  /** Outputs that the forward program returns; all others are the backward's. */
  readonly forwardOutputs: readonly string[]
  /** Inputs that are only known after the forward pass. */
  readonly tangents: readonly string[]
  /** Keep nothing and compute everything again (gradient checkpointing). */
  readonly recomputeAll?: boolean
}

/** A typical batch: only the proportions matter, for weighing values against each other. */
const TYPICAL: Readonly<Record<string, number>> = { batch: 4, longest: 128, tokens: 512, scored: 512 }
const TYPICAL_RANK = 8

export function partition(joint: Graph, { forwardOutputs, tangents, recomputeAll = false }: PartitionOptions): Partition {
  const late = lateValues(joint, tangents)
  const backwardOutputs = [...joint.outputs].filter(([name]) => !forwardOutputs.includes(name))
  const keep = valuesToKeep(
    joint,
    late,
    backwardOutputs.map(([, id]) => id),
    recomputeAll,
  )
  const saved = new Map(keep.map((id) => [id, `saved.${id}`]))
  const forward = new Map([
    ...forwardOutputs.map((name) => [name, joint.outputs.get(name)!] as const),
    ...[...saved].map(([id, name]) => [name, id] as const),
  ])
  return {
    forward: extract(joint, forward),
    backward: extract(joint, new Map(backwardOutputs), saved),
    saved: [...saved.values()],
  }
}

/** Values that depend on a tangent. */
function lateValues(graph: Graph, tangents: readonly string[]): Set<ValueId> {
  const late = new Set<ValueId>()
  graph.values.forEach(({ source }, id) => {
    if (source.kind === 'input' && tangents.includes(source.name)) late.add(id)
  })
  for (const node of graph.nodes) if (node.inputs.some((id) => id !== null && late.has(id))) for (const id of node.outputs) late.add(id)
  return late
}

function valuesToKeep(graph: Graph, late: ReadonlySet<ValueId>, results: readonly ValueId[], recomputeAll: boolean): ValueId[] {
  // A value is a pair of vertices, 2 id (computed) and 2 id + 1 (available in the backward pass); the edge between them is the cost of keeping it.
  const [source, sink] = [2 * graph.values.length, 2 * graph.values.length + 1]
  const edges: Edge[] = []
  const bindings = typicalBindings(graph)
  const early = (id: ValueId): boolean => !late.has(id) && graph.values[id].source.kind === 'node'
  graph.nodes.forEach((node) => {
    const heavy = !recomputeAll && findOp(ops, node.op).cost === 'heavy'
    for (const output of node.outputs) {
      if (!early(output)) continue
      edges.push({ from: 2 * output, to: 2 * output + 1, capacity: 1 + elements(evaluateShape(graph.values[output].shape, bindings)) })
      if (heavy) edges.push({ from: source, to: 2 * output, capacity: Infinity })
      for (const input of node.inputs)
        if (input !== null && early(input)) edges.push({ from: 2 * input + 1, to: 2 * output, capacity: Infinity })
    }
    if (node.outputs.some((id) => late.has(id)))
      for (const input of node.inputs) if (input !== null && early(input)) edges.push({ from: 2 * input + 1, to: sink, capacity: Infinity })
  })
  for (const id of results) if (early(id)) edges.push({ from: 2 * id + 1, to: sink, capacity: Infinity })
  const reached = minimumCut(edges, source, sink)
  return graph.values.flatMap((_, id) => (reached.has(2 * id) && !reached.has(2 * id + 1) && early(id) ? [id] : []))
}

function typicalBindings(graph: Graph): Bindings {
  const symbols = new Set(graph.values.flatMap(({ shape }) => shape.flatMap(dimSymbols)))
  return new Map([...symbols].map((symbol) => [symbol, TYPICAL[symbol] ?? TYPICAL_RANK]))
}
