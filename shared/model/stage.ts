/**
 * @file A side's part of the model as programs: the bottom (forward to the cut, backward from it) and the top (forward, loss and
 * backward in one call). The top from no cut at all is the whole model.
 */
import { isHandle, tensorsOf, type Backend, type CompileOptions, type Handle, type Program } from '../backend/backend.js'
import type { WeightStore } from '../backend/weights.js'
import { graphInputs, type Graph } from '../graph/data.js'
import { scalar, type F32Tensor, type I32Tensor, type NamedTensors, type Tensor } from '../tensor.js'
import type { Batch, Layout } from '../train/batch.js'
import { dropoutMask, type MaskKey } from '../train/dropout.js'
import { CUT_VALUE } from './cut.js'
import { gradName, type ModelDefinition } from './graphs.js'
import { isNarrow } from './narrow.js'
import { ofModule, type PerModule } from './module-selection.js'
import { bottomGraphs, topGraphs } from './stage-graphs.js'

/** How LoRA stands on the model: on which modules, and how strongly. */
export interface LoraSetting {
  /** Module paths. */
  readonly paths: readonly string[]
  /** alpha / r, or alpha / sqrt(r) for rsLoRA. */
  readonly scale: PerModule
  readonly dropout: number
}

export interface StageSetting {
  readonly backend: Backend
  readonly model: ModelDefinition
  readonly weights: WeightStore
  readonly lora: LoraSetting
  readonly smoothing: number
  readonly recomputeAll: boolean
  readonly lane: number
}

/** A forward pass that waits for its gradient. It ends in `backward` or `discard`, exactly once. */
export interface Pending {
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly saved: Readonly<Record<string, Handle>>
}

export interface BottomStage {
  /** Adapter tensors of this side, in the order of the model. */
  readonly adapterNames: readonly string[]
  /** @returns smashed activations f32 [tokens, hidden], real tokens only, and what `backward` needs. */
  forward(batch: Batch, adapter: NamedTensors, key: MaskKey): Promise<{ hidden: F32Tensor; pending: Pending }>
  /** @param gradient dLoss/dZ, f32 [tokens, hidden]. @returns dLoss/d(adapter tensor), by name. */
  backward(pending: Pending, gradient: F32Tensor): Promise<Map<string, F32Tensor>>
  discard(pending: Pending): Promise<void>
  /** Smashed activations without dropout, nothing kept. */
  evaluate(batch: Batch, adapter: NamedTensors): Promise<F32Tensor>
  dispose(): Promise<void>
}

/** What the top works on: the whole model takes `ids`, a top the smashed activations. */
export interface TopBatch extends Layout {
  readonly lengths: ArrayLike<number>
  readonly ids?: I32Tensor
  readonly hidden?: F32Tensor
  readonly scored: I32Tensor
  readonly targets: I32Tensor
}

export interface TopResult {
  /** Plain negative log-likelihood summed over the scored tokens, nats. */
  readonly nll: number
  /** dLoss/dZ, f32 [tokens, hidden]; null for the whole model. */
  readonly gradient: F32Tensor | null
  readonly grads: Map<string, F32Tensor>
}

export interface TopStage {
  readonly adapterNames: readonly string[]
  /** Batches that it computes at the same time; more of them wait for each other. */
  readonly atOnce: number
  /** @param normalizer scored tokens of the whole local step: the loss is the micro-batch's sum divided by it. */
  train(batch: TopBatch, normalizer: number, adapter: NamedTensors, key: MaskKey): Promise<TopResult>
  /** Summed plain nll of the scored tokens, nats. */
  evaluate(batch: TopBatch, adapter: NamedTensors): Promise<number>
  dispose(): Promise<void>
}

/** The blocks before `layer`. @throws UserError CUT_OUT_OF_RANGE */
export async function openBottom(setting: StageSetting, layer: number): Promise<BottomStage> {
  const { backend } = setting
  const { adapterNames, evaluation, ...parts } = bottomGraphs(setting, layer)
  const prepack = multipliesCodes(setting)
  const keepsMemory = keepsWhatItUsed(setting)
  const forward = lazyProgram(setting, 'bottom-forward', parts.forward, { prepack, keepsMemory })
  const backward = lazyProgram(setting, 'bottom-backward', parts.backward, { prepack, keepsMemory })
  const evaluate = lazyProgram(setting, 'bottom-evaluate', evaluation)
  const backwardInputs = [...graphInputs(parts.backward).keys()]
  const discard = (pending: Pending): Promise<void> => backend.release(Object.values(pending.saved))

  return {
    adapterNames,
    async forward(batch, adapter, key) {
      const inputs = gather(parts.forward, setting, batch, adapter, key)
      const results = await forward.run(inputs, { keep: parts.saved })
      const [hidden] = tensorsOf(results, [CUT_VALUE])
      const saved = Object.fromEntries(Object.entries(results).filter((entry): entry is [string, Handle] => isHandle(entry[1])))
      // The backward program may ask for inputs that the forward pass had no use for.
      return { hidden: hidden as F32Tensor, pending: { inputs: gather(parts.backward, setting, batch, adapter, key, inputs), saved } }
    },
    async backward(pending, gradient) {
      try {
        if (adapterNames.length === 0) return new Map()
        const given: Record<string, Tensor | Handle> = { ...pending.inputs, ...pending.saved, [gradName(CUT_VALUE)]: gradient }
        const wanted = Object.fromEntries(backwardInputs.map((name) => [name, given[name]]))
        return gradientsOf(await backward.run(wanted), adapterNames)
      } finally {
        await discard(pending)
      }
    },
    discard,
    async evaluate(batch, adapter) {
      const [hidden] = tensorsOf(await evaluate.run(gather(evaluation, setting, batch, adapter, null)), [CUT_VALUE])
      return hidden as F32Tensor
    },
    dispose: () => disposeAll([forward, backward, evaluate]),
  }
}

/**
 * The blocks from `layer` on, final norm, head and loss; null: the whole model.
 * @param forSpeed whether training may spend memory on speed, as who has the top may, and a client may not
 * @throws UserError CUT_OUT_OF_RANGE
 */
export async function openTop(setting: StageSetting, layer: number | null, { forSpeed = false } = {}): Promise<TopStage> {
  const { adapterNames, training, evaluation } = topGraphs(setting, layer)
  const train = lazyProgram(setting, 'top-train', training, {
    prepack: forSpeed || multipliesCodes(setting),
    keepsMemory: forSpeed || keepsWhatItUsed(setting),
  })
  const evaluate = lazyProgram(setting, 'top-evaluate', evaluation)

  return {
    adapterNames,
    atOnce: 1,
    async train(batch, normalizer, adapter, key) {
      const given = { normalizer: scalar(normalizer) }
      const results = await train.run(gather(training, setting, batch, adapter, key, given), { ignore: ['loss'] })
      const [nll] = tensorsOf(results, ['nll'])
      const gradient = layer === null ? null : (tensorsOf(results, [gradName(CUT_VALUE)])[0] as F32Tensor)
      return { nll: nll.data[0], gradient, grads: gradientsOf(results, adapterNames) }
    },
    async evaluate(batch, adapter) {
      const [nll] = tensorsOf(await evaluate.run(gather(evaluation, setting, batch, adapter, null)), ['nll'])
      return nll.data[0]
    },
    dispose: () => disposeAll([train, evaluate]),
  }
}

/**
 * Weights in blocks are multiplied in 8-bit codes only where they are laid out for it. Training programs pay for that whoever runs them: a copy
 * of codes, not of float32. Evaluation rounds no activations, so that a loss is that of the weights.
 */
function multipliesCodes({ weights }: StageSetting): boolean {
  return weights.precision !== 'fp32'
}

/** Whether training programs keep the memory that a step has used. */
function keepsWhatItUsed({ model }: StageSetting): boolean {
  return isNarrow(model.family.architecture(model.config))
}

/** A program that is compiled when it is first run: who only evaluates pays for no training program. */
interface LazyProgram {
  run: Program['run']
  dispose: Program['dispose']
}

function lazyProgram(
  { backend, weights, lane }: StageSetting,
  name: string,
  graph: Graph,
  compiling: Pick<CompileOptions, 'prepack' | 'keepsMemory'> = {},
): LazyProgram {
  let compiled: Promise<Program> | null = null
  return {
    async run(inputs, options) {
      compiled ??= backend.compile(graph, weights, { ...compiling, name, lane })
      return (await compiled).run(inputs, options)
    },
    async dispose() {
      await (await compiled)?.dispose()
    },
  }
}

async function disposeAll(programs: readonly LazyProgram[]): Promise<void> {
  for (const program of programs) await program.dispose()
}

/** Finds each input of a graph in the batch, the adapter, or what is `given`; makes scales and masks. Saved values are not looked for. */
function gather(
  graph: Graph,
  { lora }: StageSetting,
  batch: Batch | TopBatch,
  adapter: NamedTensors,
  key: MaskKey | null,
  given: Readonly<Record<string, Tensor>> = {},
): Record<string, Tensor> {
  const inputs: Record<string, Tensor> = {}
  for (const [name, spec] of graphInputs(graph)) {
    const mask = /^(.*)\.lora_mask$/.exec(name)
    const scaled = /^(.*)\.lora_scale$/.exec(name)
    if (given[name]) inputs[name] = given[name]
    else if (name.startsWith('saved.') || name === gradName(CUT_VALUE)) continue
    else if (scaled) inputs[name] = scalar(ofModule(lora.scale, scaled[1]!))
    else if (mask && key) inputs[name] = dropoutMask(key, mask[1], batch.lengths, spec.shape[1] as number, lora.dropout)
    else inputs[name] = fromBatch(batch, name) ?? adapter.get(name) ?? missing(name)
  }
  return inputs
}

function fromBatch(batch: Batch | TopBatch, name: string): Tensor | undefined {
  switch (name) {
    case 'ids':
      return batch.ids
    case CUT_VALUE:
      return 'hidden' in batch ? batch.hidden : undefined
    case 'positions':
    case 'slots':
    case 'places':
    case 'scored':
    case 'targets':
      return batch[name]
    default:
      return undefined
  }
}

function missing(name: string): never {
  throw new Error(`nothing was given for the input ${name}`)
}

function gradientsOf(results: Readonly<Record<string, Tensor | Handle>>, names: readonly string[]): Map<string, F32Tensor> {
  const tensors = tensorsOf(results, names.map(gradName)) as F32Tensor[]
  return new Map(names.map((name, i) => [name, tensors[i]]))
}
