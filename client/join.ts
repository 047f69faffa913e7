/**
 * @file Joins a run over a link: opens the blocks that the server's config gives this client, and trains. Every client comes through here.
 */
import type { Backend } from '../shared/backend/backend.js'
import type { Precision, WeightStore } from '../shared/backend/weights.js'
import type { ClientLink, Traffic } from '../shared/protocol/link.js'
import { PROTOCOL_VERSION, type MessageOf, type Part } from '../shared/protocol/messages.js'
import { PART_NAMES } from '../shared/protocol/codec/name.js'
import { checkSameModel, cutOfRun, loraOfRun, weightsOfSides, type LoadedModel } from '../shared/model/loaded.js'
import type { StageSetting } from '../shared/model/stage.js'
import { stagesInLane, type Stages } from '../shared/model/stages.js'
import type { Trace } from '../shared/trace.js'
import type { ClientData } from './data.js'
import { NamedCut } from './named-cut.js'
import type { FileSource } from './file-requests.js'
import { splitWorker, wholeWorker } from './steps.js'
import type { MomentsStore } from './round.js'
import { train, type Around, type TrainerEvent } from './trainer.js'

/** A model that can hand out its weights. */
export interface ClientModel extends LoadedModel {
  weights(names: Iterable<string>, options: { readonly precision: Precision }): Promise<WeightStore>
}

export interface JoinOptions<Model extends ClientModel> {
  readonly client: string
  readonly link: ClientLink
  readonly backend: Backend
  /** Worker of the backend that this client's programs live in; 0 unless given. */
  readonly lane?: number
  /** Programs that it shares with other clients of this process, in place of some of its own in a lane. */
  readonly stages?: Stages
  /** @param files the model's files at the server, for a client that lacks them */
  openModel(welcome: MessageOf<'welcome'>, files: FileSource): Promise<Model>
  openData(welcome: MessageOf<'welcome'>, model: Model): Promise<ClientData>
  readonly moments: MomentsStore
  readonly onEvent?: (event: TrainerEvent) => void
  readonly around?: Around
  /** Hears what each message cost. */
  readonly onTraffic?: (traffic: Traffic) => void
  /** Is told what the client does when; its engine has to be given it, too. */
  readonly trace?: Trace
}

/** Resolves when the run is over. @throws UserError whatever keeps the client from taking part. */
export function joinRun<Model extends ClientModel>({
  client,
  link,
  backend,
  lane = 0,
  stages = stagesInLane(lane),
  openModel,
  openData,
  moments,
  onEvent,
  around,
  onTraffic,
  trace,
}: JoinOptions<Model>): Promise<void> {
  return train({
    client,
    link,
    moments,
    ...(onEvent ? { onEvent } : {}),
    ...(around ? { around } : {}),
    ...(onTraffic ? { onTraffic } : {}),
    ...(trace ? { trace } : {}),
    async equip(welcome, server, watch) {
      const { config } = welcome
      const model = await openModel(welcome, server.files)
      const layer = cutOfRun(model, config.split)
      const names = weightsOfSides(model.definition, layer).bottom
      checkSameModel(model, welcome.model, names)
      const data = await openData(welcome, model)
      const setting: Omit<StageSetting, 'lane'> = {
        backend,
        model: model.definition,
        weights: await model.weights(names, { precision: config.model.precision }),
        lora: loraOfRun(model, config.lora).setting,
        smoothing: config.train.label_smoothing_factor,
        recomputeAll: config.train.gradient_checkpointing,
      }
      const worker =
        layer === null
          ? wholeWorker(await stages.whole(setting), watch)
          : splitWorker(await stages.bottom(setting, layer), server, new NamedCut(config.lora.r, config.transport.codec_cache_bytes), watch)
      return { data, worker }
    },
  })
}

export interface HelloFacts {
  readonly client: string
  readonly token: string | null
  /** What it can show again as a new process, see identity.node.ts; without it a new process waits until the server has given up the one before. */
  readonly secret?: string
  readonly part: Part | null
  readonly ownData: boolean
  readonly engine: string
  readonly software: string
}

/** The first message of every connection. */
export function helloOf({ client, token, secret, part, ownData, engine, software }: HelloFacts): MessageOf<'hello'> {
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    client,
    token,
    secret: secret ?? null,
    resume: false,
    part,
    own_data: ownData,
    capabilities: { codecs: [...PART_NAMES], engine, software },
  }
}

/** Kept moments in memory: for clients that live as long as their run, of which there is no checkpoint. */
export function memoryMoments(): MomentsStore {
  const kept = new Map<number, Parameters<MomentsStore['save']>[1]>()
  return {
    async save(round, moments, since) {
      kept.set(round, moments)
      for (const old of kept.keys()) if (old < since) kept.delete(old)
    },
    async load(round) {
      // A copy: the optimizer changes it in place, and the round may start again.
      return structuredClone(kept.get(round) ?? null)
    },
    rounds: async () => [...kept.keys()].sort((a, b) => a - b),
    clear: async () => kept.clear(),
  }
}
