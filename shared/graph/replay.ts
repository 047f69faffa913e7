/**
 * @file Appends a finished graph to a builder again, so that passes can extend or rewrite it.
 */
import { unreachable } from '../errors.js'
import type { Graph, NodeRecord, ValueId } from './data.js'
import { type Value, type GraphBuilder } from './graph.js'

export interface Replayed {
  /** The new value of an old id. */
  at(id: ValueId): Value
  output(name: string): Value
}

/**
 * Copies nodes in order, with outputs and marks. `rewrite` may return other results for a node: it gets the node and its already copied
 * inputs, and may build what it likes; null keeps the node as it is.
 */
export function replay(
  graph: Graph,
  builder: GraphBuilder,
  rewrite: (node: NodeRecord, inputs: readonly (Value | null)[]) => readonly Value[] | null = () => null,
): Replayed {
  const copied = new Map<ValueId, Value>()
  const at = (id: ValueId): Value => {
    const known = copied.get(id)
    if (known) return known
    const { source, dtype, shape } = graph.values[id]
    if (source.kind === 'node') return unreachable(`value ${id} is used before it is computed`)
    const value =
      source.kind === 'input'
        ? builder.input(source.name, dtype, shape)
        : source.kind === 'weight'
          ? builder.weight(source.name, shape)
          : builder.constant(source.data, shape as readonly number[])
    copied.set(id, value)
    return value
  }
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((id) => (id === null ? null : at(id)))
    const outputs = rewrite(node, inputs) ?? builder.apply(node.op, inputs, node.attributes)
    node.outputs.forEach((id, output) => copied.set(id, outputs[output]))
  }
  for (const [name, id] of graph.outputs) builder.output(name, at(id))
  for (const [name, id] of graph.marks) builder.mark(name, at(id))
  return { at, output: (name) => at(graph.outputs.get(name)!) }
}
