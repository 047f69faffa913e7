/**
 * @file The whole config: its groups, the rules that hold between keys, and the part of it that a client is sent.
 *
 * `Config` is always resolved: every key is there. Read one from outside with `parseConfig` (parse.ts) or `loadConfig` (load.node.ts),
 * which turn what is wrong with it into a UserError; take `Config.parse({})` for the defaults.
 */
import { z } from 'zod'
import {
  DataGroup,
  EvalGroup,
  FederationGroup,
  LoraGroup,
  ModelGroup,
  OutputGroup,
  PrivacyGroup,
  SplitGroup,
  TrainGroup,
  TransportGroup,
} from './groups.js'
import { unrepeatableCodecs } from '../protocol/codec/setting.js'
import { isOwnModule } from './own-path.js'

const DEFAULT_LOCAL_STEPS = 10

/** The groups as a file has them, before the rules between keys; `parse.ts` reads the known keys off it. */
export const ConfigGroups = z.strictObject({
  model: ModelGroup.prefault({}),
  split: SplitGroup.prefault({}),
  lora: LoraGroup.prefault({}),
  data: DataGroup.prefault({}),
  train: TrainGroup.prefault({}),
  federation: FederationGroup.prefault({}),
  privacy: PrivacyGroup.prefault({}),
  transport: TransportGroup.prefault({}),
  output: OutputGroup.prefault({}),
  eval: EvalGroup.prefault({}),
})
type ConfigGroups = z.infer<typeof ConfigGroups>

export const Config = ConfigGroups.superRefine(checkRules).transform(resolve)
export type Config = z.infer<typeof Config>

/** How many clients take part: one in `centralized`, which holds the data of all `num_clients` parts. */
export function clientCount(config: {
  split: Pick<ConfigGroups['split'], 'topology'>
  federation: Pick<ConfigGroups['federation'], 'num_clients'>
}): number {
  return config.split.topology === 'centralized' ? 1 : config.federation.num_clients
}

function checkRules(config: ConfigGroups, context: z.core.$RefinementCtx): void {
  const complain = (path: readonly string[], message: string): void => {
    context.addIssue({ code: 'custom', path: [...path], message })
  }
  const { data, federation, transport } = config
  if (federation.local_steps !== null && federation.local_epochs !== null) {
    complain(['federation', 'local_epochs'], 'no value (local_steps is given, and a round is as long as one of the two says)')
  }
  if (data.dataset !== null && data.path !== null)
    complain(['data', 'path'], 'no value (dataset is given, and the rows come from one of the two)')
  const clients = clientCount(config)
  for (const key of ['min_train_clients', 'min_available_clients', 'min_replies'] as const) {
    if ((federation[key] ?? 0) > clients) {
      const why =
        config.split.topology === 'centralized'
          ? 'split.topology is centralized, which has 1 client'
          : `federation.num_clients is ${clients}`
      complain(['federation', key], `at most ${clients}, because ${why}`)
    }
  }
  if (Object.keys(federation.strategy_options).length > 0 && !isOwnModule(federation.strategy)) {
    complain(['federation', 'strategy_options'], `no value (the strategy ${federation.strategy} has no options)`)
  }
  if (config.split.topology === 'local' && federation.strategy !== 'fedavg') {
    complain(['federation', 'strategy'], 'no value (split.topology is local, where nothing is merged)')
  }
  if (federation.on_client_loss === 'restart_round' && config.split.topology === 'split')
    for (const key of ['activation_codec', 'gradient_codec'] as const)
      for (const name of unrepeatableCodecs(transport[key]))
        complain(
          ['transport', key],
          `a codec that remembers nothing (federation.on_client_loss is restart_round, which promises the same numbers when a round is made again, and ${name} gives others)`,
        )
  if (transport.max_inflight_bytes < transport.max_chunk_bytes) {
    complain(['transport', 'max_inflight_bytes'], `at least transport.max_chunk_bytes, which is ${transport.max_chunk_bytes}`)
  }
}

/** Fills in the defaults that depend on another key. */
function resolve(config: ConfigGroups) {
  const { data, federation } = config
  return {
    ...config,
    data: { ...data, dataset: data.path === null ? (data.dataset ?? ('sotu' as const)) : null },
    federation: {
      ...federation,
      local_steps: federation.local_epochs === null ? (federation.local_steps ?? DEFAULT_LOCAL_STEPS) : null,
      min_available_clients: federation.min_available_clients ?? clientCount(config),
    },
  }
}

/**
 * What a client is sent when it joins: all that it needs to train as the server's config says, and nothing about the server's machine
 * but `data.path`, which is where the rows lie if client and server share a machine.
 */
export const ClientConfig = z.object({
  model: ModelGroup.pick({ model_name_or_path: true, revision: true, precision: true }),
  split: SplitGroup,
  lora: LoraGroup,
  data: DataGroup,
  train: TrainGroup,
  federation: FederationGroup.pick({
    num_rounds: true,
    num_clients: true,
    local_steps: true,
    local_epochs: true,
    optimizer_state: true,
    reconnect_s: true,
  }),
  privacy: PrivacyGroup,
  transport: TransportGroup.pick({
    codec_cache_bytes: true,
    max_chunk_bytes: true,
    max_inflight_bytes: true,
  }),
  eval: EvalGroup,
})
export type ClientConfig = z.infer<typeof ClientConfig>

/** The client's part of a run's config. A model folder is told by its last part only: a client never opens a path that a server names. */
export function clientConfigOf(config: Config): ClientConfig {
  const { model, federation, transport } = config
  return {
    model: { model_name_or_path: lastPart(model.model_name_or_path), revision: model.revision, precision: model.precision },
    split: config.split,
    // Its adapter comes with each round's start.
    lora: { ...config.lora, init_from: null },
    data: config.data,
    train: config.train,
    federation: {
      num_rounds: federation.num_rounds,
      num_clients: federation.num_clients,
      local_steps: federation.local_steps,
      local_epochs: federation.local_epochs,
      optimizer_state: federation.optimizer_state,
      reconnect_s: federation.reconnect_s,
    },
    privacy: config.privacy,
    transport: {
      codec_cache_bytes: transport.codec_cache_bytes,
      max_chunk_bytes: transport.max_chunk_bytes,
      max_inflight_bytes: transport.max_inflight_bytes,
    },
    eval: config.eval,
  }
}

function lastPart(path: string | null): string | null {
  if (path === null) return null
  return (
    path
      .split(/[\\/]/)
      .filter((part) => part !== '')
      .at(-1) ?? null
  )
}
