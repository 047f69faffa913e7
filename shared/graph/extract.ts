/**
 * @file Part of a graph as a graph of its own: what `cut`, `partition` and pruning are made of.
 */
import type { Graph, NodeRecord, ValueId, ValueRecord } from './data.js'
import { unreachable } from '../errors.js'

/**
 * The nodes that `outputs` need, and no others. The values of `given` become inputs of that name instead of being computed.
 * Marks of values that the part still holds are kept.
 *
 * @throws Error if a needed value is neither computed nor given (a bug).
 */
export function extract(graph: Graph, outputs: ReadonlyMap<string, ValueId>, given: ReadonlyMap<ValueId, string> = new Map()): Graph {
  const values: ValueRecord[] = []
  const nodes: NodeRecord[] = []
  const renumbered = new Map<ValueId, ValueId>()
  const needed = neededNodes(graph, outputs.values(), given)

  const adopt = (id: ValueId): ValueId => {
    const known = renumbered.get(id)
    if (known !== undefined) return known
    const record = graph.values[id]
    const name = given.get(id)
    if (name === undefined && record.source.kind === 'node') unreachable(`value ${id} is used before it is computed`)
    values.push(name === undefined ? record : { ...record, source: { kind: 'input', name } })
    renumbered.set(id, values.length - 1)
    return values.length - 1
  }

  graph.nodes.forEach((node, index) => {
    if (!needed.has(index)) return
    const inputs = node.inputs.map((id) => (id === null ? null : adopt(id)))
    const outs = node.outputs.map((id, output) => {
      values.push({ ...graph.values[id], source: { kind: 'node', node: nodes.length, output } })
      // A given value is read from its input even where its node also runs for a sibling output.
      if (!given.has(id)) renumbered.set(id, values.length - 1)
      return values.length - 1
    })
    nodes.push({ ...node, inputs, outputs: outs })
  })

  const named = new Map([...outputs].map(([name, id]) => [name, adopt(id)]))
  const marks = new Map([...graph.marks].filter(([, id]) => renumbered.has(id)).map(([name, id]) => [name, renumbered.get(id)!]))
  return { values, nodes, outputs: named, marks }
}

function neededNodes(graph: Graph, from: Iterable<ValueId>, given: ReadonlyMap<ValueId, string>): Set<number> {
  const needed = new Set<number>()
  const pending = [...from]
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    const { source } = graph.values[id]
    if (given.has(id) || source.kind !== 'node' || needed.has(source.node)) continue
    needed.add(source.node)
    for (const input of graph.nodes[source.node].inputs) if (input !== null) pending.push(input)
  }
  return needed
}
