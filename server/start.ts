/**
 * @file Makes an edge server from a config and an opened model; every way of starting one comes through here.
 */
import type { Backend } from '../shared/backend/backend.js'
import type { WeightStore } from '../shared/backend/weights.js'
import type { Config } from '../shared/config/schema.js'
import { initialAdapter } from '../shared/model/adapter.js'
import { cutOfRun, loraOfRun, modelCardOf, type LoadedModel } from '../shared/model/loaded.js'
import { openTop, type TopStage } from '../shared/model/stage.js'
import type { NamedTensors } from '../shared/tensor.js'
import { EdgeServer } from './edge-server.js'
import type { Clock, RunObserver } from './observer.js'
import { fedAvg } from './strategy/fedavg.js'

export interface ServerSetup {
  readonly config: Config
  readonly run: string
  readonly model: LoadedModel
  /** What the top needs, see weightsOfSides; unused where clients hold the whole model. */
  readonly weights: WeightStore
  readonly backend: Backend
  readonly observer: RunObserver
  readonly token: string | null
  /** Starts from this adapter in place of a fresh one. */
  readonly start?: NamedTensors
  readonly clock?: Clock
}

export interface StartedServer {
  readonly server: EdgeServer
  dispose(): Promise<void>
}

/** @throws UserError CUT_OUT_OF_RANGE, TARGET_MATCHES_NOTHING */
export async function startServer(setup: ServerSetup): Promise<StartedServer> {
  const { config, model, backend, weights } = setup
  const lora = loraOfRun(model, config.lora)
  const layer = cutOfRun(model, config.split)
  const stage: TopStage | null =
    layer === null
      ? null
      : await openTop(
          {
            backend,
            weights,
            model: model.definition,
            lora: lora.setting,
            smoothing: config.train.label_smoothing_factor,
            recomputeAll: config.train.gradient_checkpointing,
            lane: 0,
          },
          layer,
          { prepack: true },
        )
  const { r, init_lora_weights: init } = config.lora
  const server = new EdgeServer({
    config,
    run: setup.run,
    model: modelCardOf(model),
    architecture: model.architecture,
    top: stage,
    start: setup.start ?? initialAdapter(lora.modules, { r, seed: config.train.seed, init }),
    strategy: fedAvg({
      fractionTrain: config.federation.fraction_train,
      fractionEvaluate: config.federation.fraction_evaluate,
      // Fewer could never give the replies that a round needs.
      minTrain: Math.max(config.federation.min_train_clients, config.federation.min_replies),
    }),
    observer: setup.observer,
    token: setup.token,
    ...(setup.clock ? { clock: setup.clock } : {}),
  })
  return {
    server,
    async dispose() {
      await stage?.dispose()
    },
  }
}
