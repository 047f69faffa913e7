/**
 * @file The graphs that each side of a cut runs. `stage.ts` makes programs of them; whoever only wants to know what they cost looks at them here.
 */
import { graphInputs, type Graph } from '../graph/data.js'
import { extract } from '../graph/extract.js'
import { partition, type Partition } from '../graph/partition.js'
import { cut, CUT_VALUE } from './cut.js'
import { gradName, lossGraph, withCutGradients, withLossGradients, type ModelDefinition } from './graphs.js'
import { addLora, defaultTerm } from './lora.js'

export interface StageModel {
  readonly model: ModelDefinition
  readonly lora: {
    /** Module paths. */
    readonly paths: readonly string[]
    readonly dropout: number
  }
  readonly smoothing: number
  readonly recomputeAll: boolean
}

export interface BottomGraphs extends Partition {
  readonly evaluation: Graph
  /** Adapter tensors of this side, in the order of the model. */
  readonly adapterNames: readonly string[]
}

export interface TopGraphs {
  /** Forward, loss and backward. */
  readonly training: Graph
  readonly evaluation: Graph
  readonly adapterNames: readonly string[]
}

/** The blocks before `layer`: forward to the cut, backward from it. @throws UserError CUT_OUT_OF_RANGE */
export function bottomGraphs(setting: StageModel, layer: number): BottomGraphs {
  const [training, evaluation] = [true, false].map((dropout) => cut(adapted(setting, dropout), [layer])[0])
  const adapterNames = adapterInputs(training)
  const parts = partition(withCutGradients(training, adapterNames), {
    forwardOutputs: [CUT_VALUE],
    tangents: [gradName(CUT_VALUE)],
    recomputeAll: setting.recomputeAll,
  })
  return { ...parts, evaluation, adapterNames }
}

/** The blocks from `layer` on, final norm, head and loss; null: the whole model. @throws UserError CUT_OUT_OF_RANGE */
export function topGraphs(setting: StageModel, layer: number | null): TopGraphs {
  const piece = (dropout: boolean): Graph => (layer === null ? adapted(setting, dropout) : cut(adapted(setting, dropout), [layer])[1])
  const forward = piece(true)
  const adapterNames = adapterInputs(forward)
  const plain = piece(false)
  return {
    training: withLossGradients(forward, layer === null ? adapterNames : [CUT_VALUE, ...adapterNames]),
    evaluation: extract(plain, new Map([['nll', plain.outputs.get('nll')!]])),
    adapterNames,
  }
}

/** The whole model's loss with LoRA. Evaluation leaves dropout out. */
function adapted({ model, lora, smoothing }: StageModel, training: boolean): Graph {
  const term = defaultTerm(training && lora.dropout > 0)
  return addLora(lossGraph(model, smoothing), new Map(lora.paths.map((path) => [path, [term]])))
}

function adapterInputs(graph: Graph): string[] {
  return [...graphInputs(graph).keys()].filter((name) => /\.lora_[AB]\.weight$/.test(name))
}
