/**
 * @file Checks that a graph as data is well formed: what every pass may take for granted, and must leave so.
 */
import { elements } from '../tensor.js'
import type { Graph, NodeRecord, Spec, ValueId, ValueRecord } from './data.js'
import { dimSum, dimSymbols, sameShape, type Dim } from './dims.js'
import { byName, findOp, type UntypedOp } from './graph.js'
import { ops } from './ops/index.js'
import { printSpec } from './print.js'

/**
 * Checks, in this order, each value (its shape, and a source that exists), each node (known op, inputs computed before it, recorded
 * dtypes and shapes equal to what the op's rule infers), each output and mark, and that every symbol can be bound when the graph runs.
 *
 * @throws Error naming the value, node, output or mark and what is wrong with it: a graph comes from code, so this is a bug.
 */
export function validateGraph(graph: Graph): void {
  checkNames(graph)
  graph.values.forEach((value, id) => checkValue(graph, value, id))
  graph.nodes.forEach((node, index) => checkNode(graph, node, index))
  for (const [kind, names] of [
    ['output', graph.outputs],
    ['mark', graph.marks],
  ] as const)
    for (const [name, id] of names) if (!graph.values[id]) fail(`${kind} ${name}`, `there is no value ${id}`)
  checkSymbols(graph)
}

/** An input is one value; a weight may be several, all of one shape. */
function checkNames(graph: Graph): void {
  const seen = new Map<string, Spec>()
  graph.values.forEach(({ source, dtype, shape }, id) => {
    if (source.kind !== 'input' && source.kind !== 'weight') return
    const what = `value ${id} (${source.kind} ${source.name})`
    if (source.name === '') fail(what, 'it has no name')
    if (source.kind === 'weight' && dtype !== 'f32') fail(what, `weights are f32, not ${dtype}`)
    const key = `${source.kind} ${source.name}`
    const before = seen.get(key)
    if (before && source.kind === 'input') fail(what, 'another value is this input too')
    if (before && !sameSpec(before, { dtype, shape }))
      fail(what, `it is ${printSpec({ dtype, shape })} here and ${printSpec(before)} before`)
    seen.set(key, { dtype, shape })
  })
}

function checkValue(graph: Graph, { source, dtype, shape }: ValueRecord, id: ValueId): void {
  const what = `value ${id}`
  if (dtype !== 'f32' && dtype !== 'i32') fail(what, `there is no dtype ${String(dtype)}`)
  for (const dim of shape) checkDim(what, dim)
  const whole = shape.every((dim): dim is number => typeof dim === 'number')
  if (source.kind === 'weight' && !whole) fail(what, `the shape of weight ${source.name} has a symbol: [${shape.join(', ')}]`)
  if (source.kind === 'constant') {
    if (!whole) return fail(what, `the shape of a constant has a symbol: [${shape.join(', ')}]`)
    if (source.data.length !== elements(shape)) fail(what, `a constant of shape [${shape.join(', ')}] has ${source.data.length} elements`)
  }
  if (source.kind === 'node' && graph.nodes[source.node]?.outputs[source.output] !== id)
    fail(what, `node ${source.node} does not have it as output ${source.output}`)
}

function checkDim(what: string, dim: Dim): void {
  if (typeof dim === 'number') {
    if (!Number.isSafeInteger(dim) || dim < 0) fail(what, `${dim} is no dimension`)
  } else {
    for (const symbol of dimSymbols(dim)) if (!/^[^\s*+\d-][^\s*+]*$/.test(symbol)) fail(what, `${dim} is no dimension`)
    if (dimSum([dim]) !== dim) fail(what, `the dimension ${dim} is not in its canonical spelling ${dimSum([dim])}`)
  }
}

function checkNode(graph: Graph, node: NodeRecord, index: number): void {
  const what = `node ${index} (${node.op})`
  if (!Object.hasOwn(ops, node.op)) fail(what, 'there is no such op')
  const op = findOp(ops, node.op)
  const names = [...op.inputs, ...op.optional]
  if (node.inputs.length > names.length) fail(what, `it has ${node.inputs.length} inputs, and the op takes ${names.length}`)
  names.forEach((name, position) => {
    const id = node.inputs[position] ?? null
    if (id === null) return position < op.inputs.length ? fail(what, `its input ${name} is absent`) : undefined
    const value = graph.values[id]
    if (!value) return fail(what, `there is no value ${id} for its input ${name}`)
    if (value.source.kind === 'node' && value.source.node >= index) fail(what, `its input ${name}, value ${id}, is computed later`)
  })
  const inferred = inferOutputs(graph, op, node, what)
  if (inferred.length !== node.outputs.length) fail(what, `it has ${node.outputs.length} outputs, and the op gives ${inferred.length}`)
  node.outputs.forEach((id, output) => {
    const value = graph.values[id]
    if (!value) return fail(what, `there is no value ${id} for its output ${output}`)
    const { source } = value
    if (source.kind !== 'node' || source.node !== index || source.output !== output) fail(what, `value ${id} is not its output ${output}`)
    if (!sameSpec(value, inferred[output]))
      fail(what, `output ${output} is ${printSpec(inferred[output])}, and recorded as ${printSpec(value)}`)
  })
}

function inferOutputs(graph: Graph, op: UntypedOp, node: NodeRecord, what: string): Spec[] {
  const inputs = node.inputs.map((id) => (id === null ? null : graph.values[id]))
  try {
    return [op.infer(byName(op, inputs), node.attributes)].flat() as Spec[]
  } catch (cause) {
    return fail(what, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

/** A run learns what a symbol stands for from an input that has it alone as a dimension. */
function checkSymbols(graph: Graph): void {
  const bound = new Set<Dim>(graph.values.flatMap(({ source, shape }) => (source.kind === 'input' ? shape : [])))
  graph.values.forEach(({ shape }, id) => {
    for (const symbol of shape.flatMap(dimSymbols))
      if (!bound.has(symbol)) fail(`value ${id}`, `no input has the dimension ${symbol} alone, so a run cannot know its size`)
  })
}

function sameSpec(a: Spec, b: Spec): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape)
}

function fail(what: string, problem: string, cause?: unknown): never {
  throw new Error(`this graph is malformed: ${what}: ${problem}`, { cause })
}
