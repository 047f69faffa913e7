/**
 * @file Makes an edge server from a config and an opened model; every way of starting one comes through here.
 */
import type { Backend } from '../shared/backend/backend.js'
import type { WeightStore } from '../shared/backend/weights.js'
import type { Config } from '../shared/config/schema.js'
import { initialAdapter } from '../shared/model/adapter.js'
import { cutOfRun, loraOfRun, modelCardOf, type LoadedModel } from '../shared/model/loaded.js'
import type { ServedModel } from '../shared/model/served.node.js'
import { StageLanes, topInLanes } from '../shared/model/stage-lanes.js'
import { openTop, type TopStage } from '../shared/model/stage.js'
import type { NamedTensors } from '../shared/tensor.js'
import type { Trace } from '../shared/trace.js'
import { ClientCuts, openCodecBook } from './client-cuts.js'
import { EdgeServer } from './edge-server.js'
import type { CheckpointSink, ResumeFrom } from './resume-from.js'
import type { Clock, RunObserver } from './observer.js'
import { loadStrategy } from './strategy/own.js'
import type { Strategy } from './strategy/strategy.js'
import type { TokenRule } from './tokens/rule.js'

export interface ServerSetup {
  readonly config: Config
  readonly run: string
  readonly model: LoadedModel
  /** What the top needs, see weightsOfSides; unused where clients hold the whole model. */
  readonly weights: WeightStore
  /** The model's files, for clients that lack them; without it they are refused. */
  readonly files?: ServedModel
  readonly backend: Backend
  /** The backend's first lanes, in each of which the top computes one micro-batch at a time. */
  readonly topLanes?: number
  readonly observer: RunObserver
  readonly token: TokenRule
  /** In place of the one that the config names. */
  readonly strategy?: Strategy
  /** Starts from this adapter in place of a fresh one. */
  readonly start?: NamedTensors
  /** Goes on from there; from the beginning, unless given. */
  readonly resume?: ResumeFrom | undefined
  /** Takes the state at every round's end. */
  readonly checkpoints?: CheckpointSink | undefined
  readonly clock?: Clock
  readonly trace?: Trace
}

export interface StartedServer {
  readonly server: EdgeServer
  dispose(): Promise<void>
}

/** @throws UserError CUT_OUT_OF_RANGE, TARGET_MATCHES_NOTHING, BAD_STRATEGY */
export async function startServer(setup: ServerSetup): Promise<StartedServer> {
  const { config, model, backend, weights } = setup
  const strategy = setup.strategy ?? (await loadStrategy(config.federation)).strategy
  const lora = loraOfRun(model, config.lora)
  const layer = cutOfRun(model, config.split)
  const stage: TopStage | null =
    layer === null
      ? null
      : await topInLanes(
          new StageLanes(
            backend,
            Array.from({ length: setup.topLanes ?? 1 }, (_, lane) => lane),
            (lane) =>
              openTop(
                {
                  backend,
                  weights,
                  model: model.definition,
                  lora: lora.setting,
                  smoothing: config.train.label_smoothing_factor,
                  recomputeAll: config.train.gradient_checkpointing,
                  lane,
                },
                layer,
                { forSpeed: true },
              ),
          ),
        )
  const { init_lora_weights: init } = config.lora
  const server = new EdgeServer({
    config,
    cuts: new ClientCuts(await openCodecBook(config), config.transport.codec_cache_bytes),
    run: setup.run,
    model: modelCardOf(model),
    architecture: model.architecture,
    top: stage,
    start: setup.start ?? initialAdapter(lora.modules, { r: lora.ranks, seed: config.train.seed, init }),
    strategy,
    observer: setup.observer,
    resume: setup.resume,
    checkpoints: setup.checkpoints,
    token: setup.token,
    ...(setup.files ? { files: setup.files } : {}),
    ...(setup.clock ? { clock: setup.clock } : {}),
    ...(setup.trace ? { trace: setup.trace } : {}),
  })
  return {
    server,
    async dispose() {
      await stage?.dispose()
    },
  }
}
