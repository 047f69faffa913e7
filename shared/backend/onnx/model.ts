/**
 * @file From a graph to the bytes of an ONNX model, and the names by which its inputs and outputs go there.
 */
import { unreachable } from '../../errors.js'
import { graphInputs, type Graph, type ValueId } from '../../graph/data.js'
import { isSymbol } from '../bindings.js'
import type { QuantizedMatrix } from '../blocks.js'
import type { WeightContent } from '../weights.js'
import { Emitter, type Operand, type SymbolSources } from './emitter.js'
import { Call, type Lowering } from './lowering/call.js'
import { lowerings } from './lowering/index.js'
import { numbersOfBlocks } from './lowering/blocks.js'
import { encodeModel, type NodeProto } from './proto.js'

/** ai.onnx 20 has Gelu, and is known to every ONNX Runtime since 1.17. */
const OPSETS = { '': 20, 'com.microsoft': 1 }
const IR_VERSION = 9

/** Where a weight is: in the model, or in a file of the model's folder. */
export type PlacedWeight = { readonly plain: WeightContent } | { readonly blocks: QuantizedMatrix<WeightContent> }

export interface OnnxModel {
  readonly bytes: Uint8Array
  /** ONNX name of each graph output; two outputs may share one. */
  readonly outputs: ReadonlyMap<string, string>
}

export function inputName(name: string): string {
  return `input:${name}`
}

/**
 * Writes one model that serves every batch, length, scored count and rank: symbols become named dimensions, and shapes that depend on
 * them are computed in the model.
 *
 * @param placed where each weight is, by checkpoint name.
 * @param prepack whether weights are laid out for their products; those with weights in blocks are then computed in 8-bit codes.
 */
export function lowerGraph(graph: Graph, name: string, placed: (weight: string) => PlacedWeight, { prepack = false } = {}): OnnxModel {
  const emit = new Emitter(symbolSources(graph))
  const named = new Map<ValueId, string>()

  const operand = (id: ValueId): Operand => {
    const { dtype, shape, source } = graph.values[id]
    let known = named.get(id)
    if (known === undefined) {
      if (source.kind === 'node') unreachable(`value ${id} is used before it is computed`)
      if (source.kind === 'input') known = inputName(source.name)
      else if (source.kind === 'constant') known = emit.floats(source.data, shape as readonly number[])
      else {
        const weight = placed(source.name)
        const dims = shape as readonly number[]
        if ('blocks' in weight) {
          const blocks = { name: source.name, shape: dims, content: weight.blocks, inCodes: prepack }
          return {
            get name() {
              return numbersOfBlocks(emit, blocks)
            },
            dtype,
            shape,
            blocks,
          }
        }
        known = emit.tensor(`weight:${source.name}`, 'f32', dims, weight.plain)
      }
      named.set(id, known)
    }
    return { name: known, dtype, shape, ...(prepack && source.kind === 'weight' ? { isLaidOut: true } : {}) }
  }

  for (const node of graph.nodes) {
    const table: Readonly<Record<string, Lowering>> = lowerings
    const lowering = table[node.op] ?? unreachable(`no lowering for ${node.op}`)
    const inputs = node.inputs.map((id) => (id === null ? null : operand(id)))
    const specs = node.outputs.map((id) => graph.values[id])
    const names = lowering(emit, new Call(node.op, inputs, node.attributes, specs))
    node.outputs.forEach((id, output) => named.set(id, names[output]))
  }

  // ONNX does not let an input, a weight or a literal be an output, nor one value be two outputs.
  const computed = new Set(emit.nodes.flatMap((node) => node.outputs))
  const outputs = new Map<string, string>()
  const returned = new Map<string, ValueId>()
  for (const [key, id] of graph.outputs) {
    const { name: source } = operand(id)
    const returnedName = computed.has(source) ? source : emit.once(`returned ${source}`, () => emit.one('Identity', [source]))
    returned.set(returnedName, id)
    outputs.set(key, returnedName)
  }

  const nodes = needed(emit.nodes, returned.keys())
  const read = new Set(nodes.flatMap((node) => node.inputs))
  const bytes = encodeModel({
    name,
    irVersion: IR_VERSION,
    opsets: OPSETS,
    nodes,
    initializers: emit.initializers.filter((tensor) => read.has(tensor.name)),
    inputs: [...graphInputs(graph)].map(([key, { dtype, shape }]) => ({ name: inputName(key), type: dtype, dims: shape })),
    outputs: [...returned].map(([returnedName, id]) => ({
      name: returnedName,
      type: graph.values[id].dtype,
      dims: graph.values[id].shape,
    })),
  })
  return { bytes, outputs }
}

/** The nodes that `outputs` need: a lowering may compute more than the graph asks for. */
function needed(nodes: readonly NodeProto[], outputs: Iterable<string>): NodeProto[] {
  const wanted = new Set(outputs)
  const kept: NodeProto[] = []
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((name) => wanted.has(name))) continue
    for (const name of node.inputs) wanted.add(name)
    kept.push(node)
  }
  return kept.reverse()
}

function symbolSources(graph: Graph): SymbolSources {
  const sources = new Map<string, { input: string; axis: number }>()
  for (const [name, { shape }] of graphInputs(graph))
    shape.forEach((dim, axis) => {
      if (typeof dim === 'string' && isSymbol(dim) && !sources.has(dim)) sources.set(dim, { input: inputName(name), axis })
    })
  return sources
}
