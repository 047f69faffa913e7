/**
 * @file A graph as text: a listing for people and for tests, with one line for each node.
 */
import type { Attribute, Graph, NodeRecord, Spec, ValueId } from './data.js'
import { graphWeights } from './data.js'
import { findOp } from './graph.js'
import { ops } from './ops/index.js'

/** Elements of a constant that are written out; of longer ones only the first. */
const SHOWN_ELEMENTS = 8

/**
 * Lists inputs, weights, constants, nodes, outputs and marks, each section only where it has lines. Results are `%id`, weights `@name`,
 * scalar constants their number; optional inputs carry their name:
 *
 *     %12 f32[tokens, 768] = gemm(%3, @attn.weight, add=@attn.bias) {transposeA: false, transposeB: false}
 *
 * The text depends on nothing but the graph: the same graph prints the same on every machine.
 *
 * @throws Error if a node's op is unknown (a bug).
 */
export function printGraph(graph: Graph): string {
  const name = (id: ValueId): string => nameOf(graph, id)
  const inputs: string[] = []
  const constants: string[] = []
  graph.values.forEach((value, id) => {
    if (value.source.kind === 'input') inputs.push(`%${id} ${printSpec(value)} = ${value.source.name}`)
    else if (value.source.kind === 'constant' && value.shape.length > 0)
      constants.push(`%${id} ${printSpec(value)} = ${printElements(value.source.data)}`)
  })
  const sections: [string, string[]][] = [
    ['inputs', inputs],
    ['weights', [...graphWeights(graph)].map(([weight, spec]) => `@${weight} ${printSpec(spec)}`)],
    ['constants', constants],
    ['nodes', graph.nodes.map((node) => printNode(graph, node))],
    ['outputs', [...graph.outputs].map(([output, id]) => `${output} = ${name(id)}`)],
    ['marks', [...graph.marks].map(([mark, id]) => `${mark} = ${name(id)}`)],
  ]
  return sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => [title, ...lines.map((line) => `  ${line}`)].join('\n'))
    .join('\n')
}

/** `f32[tokens, 768]`. */
export function printSpec({ dtype, shape }: Spec): string {
  return `${dtype}[${shape.join(', ')}]`
}

function printNode(graph: Graph, node: NodeRecord): string {
  const op = findOp(ops, node.op)
  const results = node.outputs.map((id) => `%${id} ${printSpec(graph.values[id])}`).join(', ')
  const operands = node.inputs.flatMap((id, position) => {
    if (id === null) return []
    const optional = op.optional[position - op.inputs.length]
    return [optional === undefined ? nameOf(graph, id) : `${optional}=${nameOf(graph, id)}`]
  })
  const attributes = Object.entries(node.attributes).map(([key, value]) => `${key}: ${printAttribute(value)}`)
  return `${results} = ${node.op}(${operands.join(', ')})${attributes.length > 0 ? ` {${attributes.join(', ')}}` : ''}`
}

function nameOf(graph: Graph, id: ValueId): string {
  const { source, shape } = graph.values[id]
  if (source.kind === 'weight') return `@${source.name}`
  return source.kind === 'constant' && shape.length === 0 ? `${source.data[0]}` : `%${id}`
}

function printAttribute(value: Attribute): string {
  return typeof value === 'object' ? `[${value.join(', ')}]` : `${value}`
}

function printElements(data: readonly number[]): string {
  return `[${data.slice(0, SHOWN_ELEMENTS).join(', ')}${data.length > SHOWN_ELEMENTS ? `, ... ${data.length} in all` : ''}]`
}
