/**
 * @file Runs a graph by TensorFlow.js: node by node, each once, and frees every value behind its last use.
 */
import { unreachable } from '../../errors.js'
import type { Graph, NodeRecord, ValueId } from '../../graph/data.js'
import { evaluateDim, type Bindings, type Dim } from '../../graph/dims.js'
import { bindInputs } from '../bindings.js'
import type { Kernels, TfTensor } from './kernels.js'
import { Call, type Lowering } from './lowering/call.js'
import { lowerings } from './lowering/index.js'

interface Step {
  readonly node: NodeRecord
  readonly lowering: Lowering
  /** Results that nothing needs once this node is computed. */
  readonly frees: readonly ValueId[]
}

export class TfjsProgram {
  private readonly constants = new Map<ValueId, TfTensor>()
  private readonly plans = new Map<string, readonly Step[]>()

  /** @param weights by name; whoever holds them frees them, after `dispose` */
  constructor(
    private readonly kernels: Kernels,
    private readonly graph: Graph,
    private readonly weights: ReadonlyMap<string, TfTensor>,
  ) {
    graph.values.forEach(({ source, shape }, id) => {
      if (source.kind === 'constant')
        this.constants.set(id, kernels.tf.tensor(Float32Array.from(source.data), shape as number[], 'float32'))
    })
  }

  /** Tensors that it holds between runs. */
  get heldTensors(): number {
    return this.constants.size
  }

  /**
   * @param inputs stay the caller's
   * @param wanted values of the graph; what none of them needs is not computed
   * @returns them, the caller's to free
   * @throws Error if a kernel refuses its operands; nothing is held then
   */
  run(inputs: ReadonlyMap<string, TfTensor>, wanted: readonly ValueId[]): Map<ValueId, TfTensor> {
    const { tf } = this.kernels
    const sizes = new Sizes(bindInputs(this.graph, Object.fromEntries([...inputs].map(([name, { shape }]) => [name, { shape }])), 'tfjs'))
    const computed = new Map<ValueId, TfTensor>()
    const helpers = new Map<string, TfTensor>()
    const once = (key: string, build: () => TfTensor): TfTensor => {
      const known = helpers.get(key)
      if (known) return known
      const made = tf.keep(tf.tidy(build))
      helpers.set(key, made)
      return made
    }
    const valueOf = (id: ValueId): TfTensor => computed.get(id) ?? this.given(id, inputs)
    try {
      for (const { node, lowering, frees } of this.planFor(wanted)) {
        const operands = node.inputs.map((id) => (id === null ? null : valueOf(id)))
        const shapes = node.outputs.map((id) => sizes.shape(this.graph.values[id]!.shape))
        const call = new Call(node.op, operands, node.attributes, shapes, once)
        const results = tf.tidy(() => [lowering(this.kernels, call)].flat().map((result) => this.owned(result, operands)))
        node.outputs.forEach((id, output) => computed.set(id, results[output]!))
        for (const id of frees) {
          computed.get(id)!.dispose()
          computed.delete(id)
        }
      }
      // A value that is passed on as it was given gets a tensor of its own; numbers are shared.
      return new Map(wanted.map((id) => [id, take(computed, id) ?? tf.clone(this.given(id, inputs))]))
    } finally {
      for (const tensor of [...computed.values(), ...helpers.values()]) tensor.dispose()
    }
  }

  dispose(): void {
    for (const constant of this.constants.values()) constant.dispose()
    this.constants.clear()
  }

  private given(id: ValueId, inputs: ReadonlyMap<string, TfTensor>): TfTensor {
    const { source } = this.graph.values[id]!
    const value =
      source.kind === 'input' ? inputs.get(source.name) : source.kind === 'weight' ? this.weights.get(source.name) : this.constants.get(id)
    return value ?? unreachable(`value ${id} is used before it is computed`)
  }

  /** Each result is freed on its own, so none may be an operand. */
  private owned(result: TfTensor, operands: readonly (TfTensor | null)[]): TfTensor {
    return operands.includes(result) ? this.kernels.tf.clone(result) : result
  }

  private planFor(wanted: readonly ValueId[]): readonly Step[] {
    const key = wanted.join()
    const known = this.plans.get(key)
    if (known) return known
    const plan = planOf(this.graph, wanted)
    this.plans.set(key, plan)
    return plan
  }
}

/** The nodes that `wanted` needs, in order. */
function planOf(graph: Graph, wanted: readonly ValueId[]): Step[] {
  const table: Readonly<Record<string, Lowering>> = lowerings
  const needed = new Set(wanted)
  const steps: Step[] = []
  // From the end: the first use that is met is the last one.
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((id) => needed.has(id))) continue
    const unused = node.outputs.filter((id) => !needed.has(id))
    const last = new Set(
      node.inputs.filter((id) => id !== null && graph.values[id]!.source.kind === 'node' && !needed.has(id)) as ValueId[],
    )
    for (const id of node.inputs) if (id !== null) needed.add(id)
    steps.push({ node, lowering: table[node.op] ?? unreachable(`no lowering for ${node.op}`), frees: [...last, ...unused] })
  }
  return steps.reverse()
}

function take(values: Map<ValueId, TfTensor>, id: ValueId): TfTensor | undefined {
  const value = values.get(id)
  values.delete(id)
  return value
}

/** What a run's dimensions are; each is worked out once. */
class Sizes {
  private readonly known = new Map<Dim, number>()

  constructor(private readonly bindings: Bindings) {}

  shape(dims: readonly Dim[]): number[] {
    return dims.map((dim) => {
      if (typeof dim === 'number') return dim
      const known = this.known.get(dim)
      if (known !== undefined) return known
      const size = evaluateDim(dim, this.bindings)
      this.known.set(dim, size)
      return size
    })
  }
}
