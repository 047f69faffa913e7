/**
 * @file Memory that running a graph takes beside its weights: which values live at the same time.
 */
import type { Graph, ValueId } from '../../shared/graph/data.js'
import { evaluateShape } from '../../shared/graph/dims.js'
import { findOp } from '../../shared/graph/graph.js'
import { ops } from '../../shared/graph/ops/index.js'
import type { PerModule } from '../../shared/model/module-selection.js'
import { elements } from '../../shared/tensor.js'
import { bindingsOf, withRanks, type BatchSize } from './flops.js'

/** f32 and i32 alike. */
const ELEMENT_BYTES = 4

/** Bytes of a value for a batch of that size. */
export function valueBytes(graph: Graph, id: ValueId, size: BatchSize, ranks: PerModule): number {
  return ELEMENT_BYTES * elements(evaluateShape(withRanks(graph.values[id].shape, ranks), bindingsOf(size)))
}

/**
 * The most bytes of values that live at once while the graph's nodes run in their order. Inputs live from the start to the end, outputs from where they
 * are made to the end, others until their last use. A view has no bytes of its own, and keeps what it looks at alive. The head counts twice, because
 * its logits and their softmax live together. Weights and constants are not counted: see `memory.ts`.
 */
export function peakBytes(graph: Graph, size: BatchSize, ranks: PerModule): number {
  const roots = rootsOf(graph)
  const bytesOf = (id: ValueId): number => valueBytes(graph, id, size, ranks)
  const held = new Set([...graph.outputs.values()].map((id) => roots[id]))
  let live = 0
  graph.values.forEach(({ source }, id) => {
    if (source.kind !== 'input') return
    held.add(id)
    live += bytesOf(id)
  })
  const lastUse = new Map<ValueId, number>()
  graph.nodes.forEach(({ inputs, outputs }, node) => {
    for (const id of [...inputs, ...outputs]) if (id !== null) lastUse.set(roots[id], node)
  })
  let peak = live
  graph.nodes.forEach(({ op, inputs, outputs }, node) => {
    const made = outputs.filter((id) => roots[id] === id)
    live += made.reduce((sum, id) => sum + bytesOf(id), 0)
    const logits = op === 'cross_entropy_head' ? bytesOf(outputs[2]) : 0
    peak = Math.max(peak, live + logits)
    const touched = new Set([...inputs, ...outputs].flatMap((id) => (id === null ? [] : [roots[id]])))
    for (const root of touched)
      if (lastUse.get(root) === node && !held.has(root) && graph.values[root].source.kind === 'node') live -= bytesOf(root)
  })
  return peak
}

/** For each value the one whose memory it is. */
function rootsOf(graph: Graph): ValueId[] {
  const roots = graph.values.map((_, id) => id)
  for (const { op, inputs, outputs } of graph.nodes)
    if (findOp(ops, op).cost === 'view' && inputs[0] !== null && inputs[0] !== undefined)
      for (const id of outputs) roots[id] = roots[inputs[0]]
  return roots
}
