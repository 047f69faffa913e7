/**
 * @file A model that was opened, wherever from, and what a run makes of it.
 */
import type { ClientConfig } from '../config/schema.js'
import { UserError } from '../errors.js'
import { graphWeights } from '../graph/data.js'
import type { ModelCard } from '../protocol/messages.js'
import { ranksOf, scalesOf, type LoraConfig } from './adapter.js'
import { cut, cutOutOfRange } from './cut.js'
import type { ModelDigest } from './digest.js'
import type { Architecture, LinearModule } from './families/family.js'
import { lossGraph, type ModelDefinition } from './graphs.js'
import { targetedModules } from './lora.js'
import { exceptions, namesOf, perModule, type PerModule } from './module-selection.js'
import type { LoraSetting } from './stage.js'

export interface LoadedModel {
  readonly definition: ModelDefinition
  readonly architecture: Architecture
  /** A hub id or a folder's name; never a path. */
  readonly name: string
  readonly digest: ModelDigest
  readonly parameters: number
}

export interface RunLora {
  readonly modules: readonly LinearModule[]
  /** Of those modules. */
  readonly ranks: PerModule
  /** As it is written: what differs from `r` and `alpha` by whole path. */
  readonly config: LoraConfig
  readonly setting: LoraSetting
}

/** @throws UserError TARGET_MATCHES_NOTHING */
export function loraOfRun({ definition: { family, config } }: Pick<LoadedModel, 'definition'>, lora: ClientConfig['lora']): RunLora {
  const linears = family.linears(config)
  const targets = lora.target_modules ?? family.defaultTargets
  const modules = targetedModules(linears, targets)
  const paths = modules.map(({ path }) => path)
  const ranks = ranksOf({ r: lora.r, rankPattern: lora.rank_pattern }, paths)
  const adapter: LoraConfig = {
    r: lora.r,
    alpha: lora.lora_alpha,
    dropout: lora.lora_dropout,
    targetModules: typeof targets === 'string' ? namesOf(linears, modules) : targets,
    excludeModules: [],
    layers: null,
    layersPattern: [],
    rankPattern: exceptions(paths, ranks, lora.r),
    alphaPattern: exceptions(paths, perModule(paths, lora.lora_alpha, lora.alpha_pattern), lora.lora_alpha),
    useRslora: lora.use_rslora,
    fanInFanOut: family.fanInFanOut,
  }
  return { modules, ranks, config: adapter, setting: { paths, scale: scalesOf(adapter, paths), dropout: lora.lora_dropout } }
}

/** The blocks that clients hold, or null where they hold the whole model. @throws UserError CUT_OUT_OF_RANGE */
export function cutOfRun({ architecture: { layers } }: Pick<LoadedModel, 'architecture'>, split: ClientConfig['split']): number | null {
  if (split.topology !== 'split') return null
  if (split.cut_layer > layers) throw cutOutOfRange(split.cut_layer, layers)
  return split.cut_layer
}

type Sides = Readonly<Record<'bottom' | 'top', readonly string[]>>

/** Every simulated client asks, and the graph takes a while to write. */
const knownSides = new WeakMap<ModelDefinition, Map<number | null, Sides>>()

/** Names of the weights that each side of a cut needs; a tied head needs the embedding too. */
export function weightsOfSides(definition: ModelDefinition, layer: number | null): Sides {
  const known = knownSides.get(definition) ?? new Map<number | null, Sides>()
  const sides = known.get(layer) ?? sidesOf(definition, layer)
  knownSides.set(definition, known.set(layer, sides))
  return sides
}

function sidesOf(definition: ModelDefinition, layer: number | null): Sides {
  const whole = lossGraph(definition, 0)
  if (layer === null) return { bottom: [...graphWeights(whole).keys()], top: [] }
  const [bottom, top] = cut(whole, [layer]).map((piece) => [...graphWeights(piece).keys()])
  return { bottom, top }
}

export function modelCardOf({ definition, architecture, name, digest }: LoadedModel): ModelCard {
  return {
    name,
    digest: digest.model,
    family: definition.family.name,
    layers: architecture.layers,
    hidden_size: architecture.hiddenSize,
    tensors: Object.fromEntries(digest.tensors),
  }
}

/**
 * Compares the tensors that a client uses with the server's.
 * @throws UserError MODEL_DIGEST_DIFFERS naming the first that differs.
 */
export function checkSameModel(model: LoadedModel, card: ModelCard, names: readonly string[]): void {
  if (model.digest.model === card.digest) return
  const different = names.find((name) => model.digest.tensors.get(name) !== card.tensors[name])
  if (different === undefined) return
  throw new UserError({
    code: 'MODEL_DIGEST_DIFFERS',
    what: "this client's model is not the server's",
    why: `${different} of ${model.name} differs from that of ${card.name}, which the server uses`,
    fix: `give this client a copy of the server's model with --model (digest ${card.digest.slice(0, 16)})`,
  })
}
