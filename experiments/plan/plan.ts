/**
 * @file A plan: what a run would take, from its config, its model's config.json, and its rows if they are at hand. Pure.
 */
import { serverShare } from '../../server/engine-share.js'
import { inflightLimits, isRationed } from '../../server/inflight.js'
import { clientCount, type Config } from '../../shared/config/schema.js'
import { adapterShapes } from '../../shared/model/adapter.js'
import { checkConfigFits } from '../../shared/model/fit.js'
import { matricesInBlocks } from '../../shared/model/precision.js'
import { bottomGraphs, topGraphs, type StageModel } from '../../shared/model/stage-graphs.js'
import type { ClientRows } from '../../shared/train/rows.js'
import { elements } from '../../shared/tensor.js'
import { unreachable, UserError } from '../../shared/errors.js'
import { roundTraffic, type RoundWork, type WireSetting } from './bytes.js'
import { codecGroups, plannedCodecs, type CodecGroup } from './codecs.js'
import type { BatchSize } from './flops.js'
import { finishTraffic, joinTraffic } from './join-bytes.js'
import { averagingServerMemory, splitClientMemory, splitServerMemory, wholeClientMemory, type NodeMemory } from './memory.js'
import type { PlannedModel } from './model.js'
import { computeOf, roundFlops, type Compute, type RoundFlops } from './time.js'
import { sumTraffic, type Traffic } from './wire.js'
import { largestBatch, workAtMost, workOfRows, type ClientWork } from './work.js'

/** Micro-batches that are worked out one by one; of more rounds than have so many, the first stand for all. */
const MOST_BATCHES = 20_000

export interface PlanInput {
  readonly config: Config
  readonly model: PlannedModel
  /** Of the first clients; empty: not at hand. */
  readonly rows: readonly ClientRows[]
  readonly software: string
  /** Of the server's engine. */
  readonly threads: number
}

/** Of all clients. */
type PlannedWire = Omit<WireSetting, 'codecs'> & { readonly codecs: readonly CodecGroup[] }

export interface RoundPlan {
  readonly round: number
  /** Of all clients together. */
  readonly traffic: readonly Traffic[]
  readonly flops: RoundFlops
}

export interface Plan {
  readonly model: { name: string; family: string; layers: number; hidden_size: number; parameters: number }
  /** Blocks on the clients; null: the whole model. */
  readonly cut: number | null
  readonly clients: number
  readonly rounds: number
  readonly adapter: { parameters: number; client_parameters: number; server_parameters: number; client_bytes: number; server_bytes: number }
  /** Where the token counts are from: the rows of so many clients, worked out for rounds 0 to `rounds_counted`; or `max_length` as a bound. */
  readonly tokens: { source: 'rows' | 'bound'; clients_read: number; rounds_counted: number; per_step: number; is_exact: boolean }
  readonly memory: { readonly client: NodeMemory; readonly server: NodeMemory }
  readonly counted: readonly RoundPlan[]
  /** Mean over the training rounds that were counted. */
  readonly round_traffic: readonly Traffic[]
  /** Of the whole run. */
  readonly total_traffic: readonly Traffic[]
  /** Mean over the training rounds that were counted. */
  readonly round_flops: RoundFlops
}

/** @throws UserError as `checkConfigFits`, and CONFIG_VALUE where only the rows could tell how many steps there are. */
export function makePlan(input: PlanInput): Plan {
  const { config, model, rows } = input
  const { cut, lora } = checkConfigFits(config, model)
  const clients = clientCount(config)
  const stage: StageModel = {
    model: model.definition,
    lora: lora.setting,
    smoothing: config.train.label_smoothing_factor,
    recomputeAll: config.train.gradient_checkpointing,
  }
  const isClients = (path: string): boolean => cut === null || (model.definition.family.blockOf(path) ?? Infinity) < cut
  const ofClients = adapterShapes(
    lora.modules.filter(({ path }) => isClients(path)),
    lora.ranks,
  )
  const sizeOf = (shapes: ReadonlyMap<string, readonly number[]>): number =>
    [...shapes.values()].reduce((sum, shape) => sum + elements(shape), 0)
  const parameters = sizeOf(adapterShapes(lora.modules, lora.ranks))
  const client = sizeOf(ofClients)

  const works = worksOf(input)
  const counted = countedRounds(config, works)
  const codecs = codecGroups(config)
  const wire: PlannedWire = {
    config,
    codecs,
    hiddenSize: model.architecture.hiddenSize,
    isSplit: cut !== null,
    asksFirst: cut === null ? { training: false, evaluation: false } : asksFirst(config, model),
    adapter: ofClients,
  }
  const compute: Compute = computeOf(cut === null ? null : bottomGraphs(stage, cut), topGraphs(stage, cut), lora.ranks)
  const rounds = counted.map((round) => planRound(input, works, round, wire, compute))
  const training = rounds.filter(({ round }) => round > 0)
  const mean = sumTraffic(
    training.flatMap(({ traffic }) => traffic),
    1 / training.length,
  )
  const uncounted = config.federation.num_rounds - training.length
  const size = largestSize(config, model, works)
  const setting = {
    config,
    hiddenSize: wire.hiddenSize,
    clients,
    ranks: lora.ranks,
    inBlocks: new Set(matricesInBlocks(model.definition, config.model.precision).keys()),
    size,
    adapterParameters: { client, server: parameters - client },
    topLanes: serverShare(config, model.architecture, input.threads).topLanes,
    codecs,
  }
  const top = topGraphs(stage, cut)
  return {
    model: {
      name: model.name,
      family: model.definition.family.name,
      layers: model.architecture.layers,
      hidden_size: model.architecture.hiddenSize,
      parameters: model.parameters,
    },
    cut,
    clients,
    rounds: config.federation.num_rounds,
    adapter: {
      parameters,
      client_parameters: client,
      server_parameters: parameters - client,
      client_bytes: 4 * client,
      server_bytes: 4 * (parameters - client),
    },
    tokens: {
      source: rows.length > 0 ? 'rows' : 'bound',
      clients_read: rows.length,
      rounds_counted: training.length,
      per_step: meanTokens(works, counted),
      is_exact:
        rows.length === clients && uncounted === 0 && config.federation.fraction_train === 1 && config.federation.fraction_evaluate === 1,
    },
    memory:
      cut === null
        ? { client: wholeClientMemory(setting, top), server: averagingServerMemory(setting) }
        : { client: splitClientMemory(setting, bottomGraphs(stage, cut)), server: splitServerMemory(setting, top) },
    counted: rounds,
    round_traffic: mean,
    total_traffic: sumTraffic([...rounds.flatMap(({ traffic }) => traffic), ...sumTraffic(mean, uncounted)]),
    round_flops: meanFlops(training.map(({ flops }) => flops)),
  }
}

function worksOf({ config, model, rows }: PlanInput): readonly ClientWork[] {
  if (rows.length > 0) return rows.map((own, index) => workOfRows(config, `client-${index}`, own))
  const most = workAtMost(config, model.architecture)
  if (most !== null) return [most]
  throw new UserError({
    code: 'CONFIG_VALUE',
    what: 'a plan of local epochs needs the rows',
    why: 'how many steps an epoch has depends on how many rows a client holds, and they cannot be read and tokenised here',
    fix: 'make the plan where the rows and the tokenizer are, or set federation.local_steps in place of local_epochs',
  })
}

/** Rounds from 0, as many as can be worked out, and at least one of training. */
function countedRounds({ federation, train }: Config, works: readonly ClientWork[]): number[] {
  const batches = works.reduce((sum, { localSteps }) => sum + localSteps * train.gradient_accumulation_steps, 0)
  const count = Math.min(federation.num_rounds, Math.max(1, Math.floor(MOST_BATCHES / batches)))
  return Array.from({ length: count + 1 }, (_, round) => round)
}

function planRound(
  { config, model, software }: PlanInput,
  works: readonly ClientWork[],
  round: number,
  wire: PlannedWire,
  compute: Compute,
): RoundPlan {
  const clients = clientCount(config)
  const { num_rounds } = config.federation
  // Who is selected is left to chance, so what is known of some clients stands for all.
  const { trains, evaluates } = selectedClients(config)
  const lines: Traffic[] = []
  const flops: RoundFlops[] = []
  works.forEach((work, index) => {
    const whole = work.inRound(round)
    // Who stands for others stands for their codecs.
    const groups = works.length === clients ? [{ names: plannedCodecs(config, index), clients: 1 }] : wire.codecs
    const stoodFor = groups.reduce((sum, group) => sum + group.clients, 0)
    const parts: readonly (readonly [RoundWork, number])[] =
      trains === evaluates || round === 0
        ? [[whole, round === 0 ? evaluates : trains]]
        : [
            [{ ...whole, evaluation: null }, trains],
            [{ ...whole, round: 0, steps: [] }, evaluates],
          ]
    for (const [part, share] of parts) {
      for (const { names, clients: alike } of groups)
        lines.push(...sumTraffic(roundTraffic({ ...wire, codecs: names }, part), ((share / works.length) * alike) / stoodFor))
      flops.push(roundFlops(compute, part, share / works.length))
    }
    const ends = [
      ...(round === 0 ? joinTraffic(joinFacts({ config, model, software }, index)) : []),
      ...(round === num_rounds ? finishTraffic(config) : []),
    ]
    lines.push(...sumTraffic(ends, clients / works.length))
  })
  return { round, traffic: sumTraffic(lines), flops: meanFlops(flops, 1) }
}

/** How many clients train in a round, and how many evaluate, as fedavg selects. */
function selectedClients(config: Config): { readonly trains: number; readonly evaluates: number } {
  const clients = clientCount(config)
  const { fraction_train, fraction_evaluate, min_train_clients, min_replies } = config.federation
  return {
    trains: Math.min(clients, Math.max(min_train_clients, min_replies, Math.floor(fraction_train * clients))),
    evaluates: fraction_evaluate === 0 ? 0 : Math.max(1, Math.floor(fraction_evaluate * clients)),
  }
}

function asksFirst(config: Config, { architecture }: PlannedModel): WireSetting['asksFirst'] {
  const limits = inflightLimits(config, architecture)
  const { trains, evaluates } = selectedClients(config)
  return { training: isRationed(limits, trains), evaluation: isRationed(limits, evaluates) }
}

function joinFacts({ config, model, software }: Omit<PlanInput, 'rows' | 'threads'>, index: number) {
  const { name, definition, architecture, tensors } = model
  const card = { name, family: definition.family.name, layers: architecture.layers, hidden_size: architecture.hiddenSize, tensors }
  return { config, model: card, client: `client-${index}`, part: { index, count: clientCount(config) }, software }
}

/** The largest micro-batch that is known of, else the largest that there can be. */
function largestSize(config: Config, model: PlannedModel, works: readonly ClientWork[]): BatchSize {
  const most = largestBatch(config, model.architecture)
  const seen = works.flatMap((work) => [1, 2].flatMap((round) => work.inRound(Math.min(round, config.federation.num_rounds)).steps.flat()))
  return seen.length === 0 ? most : seen.reduce((a, b) => (b.batch * b.longest > a.batch * a.longest ? b : a))
}

function meanTokens(works: readonly ClientWork[], counted: readonly number[]): number {
  const steps = works.flatMap((work) => counted.filter((round) => round > 0).flatMap((round) => work.inRound(round).steps))
  const tokens = steps.reduce((sum, micros) => sum + micros.reduce((total, size) => total + size.tokens, 0), 0)
  return steps.length === 0 ? unreachable('rounds without steps') : tokens / steps.length
}

function meanFlops(rounds: readonly RoundFlops[], count = rounds.length): RoundFlops {
  const mean = (key: keyof RoundFlops): number => rounds.reduce((sum, flops) => sum + flops[key], 0) / count
  return { clients: mean('clients'), server: mean('server') }
}
