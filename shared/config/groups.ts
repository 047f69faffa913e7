/**
 * @file The config's groups, key by key: type, range and default. Keys are snake_case, and named as Hugging Face names them where it does.
 *
 * A group lists what is built. A value that is planned but not built yet is listed in `not-built.ts`, and refused there by name;
 * whoever builds it widens the key here and deletes that entry.
 */
import { z } from 'zod'
import { ENGINE_NAMES } from '../backend/backend.js'
import { PRECISIONS } from '../backend/weights.js'
import { REVISION } from '../model/hub/id.js'
import { patternKeyProblem, patternProblem } from '../model/module-selection.js'
import { ClientId } from '../protocol/client-id.js'
import { codecProblem, type CodecSetting, type Direction } from '../protocol/codec/setting.js'
import { isOwnModule, OWN_MODULE } from './own-path.js'

const fraction = z.number().min(0).max(1)
const belowOne = z.number().min(0).lt(1)
const seconds = z.number().positive()
const path = z.string().min(1)
/** A name for all clients, or names by client id. Without `default` among these, the other clients are packed as if the key were not there. */
const codecSetting = (direction: Direction, fallback: string) => {
  const expected = 'the name of a codec such as int8 or delta+int4+zstd, or auto; or a mapping from client ids, and default, to such names'
  return z
    .union([z.string(), z.record(z.string(), z.string())], expected)
    .refine((setting) => settingProblem(setting, direction) === null, {
      error: ({ input }) => `${expected} (${settingProblem(input as string | Readonly<Record<string, string>>, direction)})`,
    })
    .transform((setting): CodecSetting => (typeof setting === 'string' ? setting : { default: fallback, ...setting }))
    .default(fallback)
}

function settingProblem(setting: string | Readonly<Record<string, string>>, direction: Direction): string | null {
  if (typeof setting === 'string') return codecProblem(setting, direction)
  for (const [client, name] of Object.entries(setting)) {
    if (!ClientId.safeParse(client).success) return `${client} is no client's id`
    const problem = codecProblem(name, direction)
    if (problem !== null) return `of ${client}: ${problem}`
  }
  return null
}

/** What has a name, or the path of a file of the user's own code. */
const nameOrCode = <Name extends string>(name: Name, file: string) => {
  const expected = `${name}, or a file such as ${file}`
  return z.union([z.literal(name), z.string().regex(OWN_MODULE, expected)], expected)
}
const rowsFile = path.refine((value): boolean => !isOwnModule(value), 'a JSONL or CSV file (data.dataset takes code)')
const names = z.array(z.string().min(1)).min(1)
/** A mapping whose keys are matched with module paths, as PEFT does it. */
const byModule = (value: z.ZodNumber) =>
  z
    .record(z.string().min(1), value)
    .refine((patterns) => keyProblem(patterns) === null, {
      error: ({ input }) => `keys that are module names or patterns for their paths (${keyProblem(input as object)})`,
    })
    .default({})

function keyProblem(patterns: object): string | null {
  for (const key of Object.keys(patterns)) {
    const problem = patternKeyProblem(key)
    if (problem !== null) return `in ${key}, ${problem}`
  }
  return null
}

export const ModelGroup = z.strictObject({
  /** A folder in Hugging Face form, or the id of a model on the hub; null: the model that is shipped with cutlayer. */
  model_name_or_path: path.nullable().default(null),
  /** Of a hub id. Resolved, in a run's own config: the commit. */
  revision: z.string().regex(REVISION, 'a branch, a tag or a commit').default('main'),
  /** Of the frozen weights. */
  precision: z.enum(PRECISIONS).default('fp32'),
  engine: z.enum(ENGINE_NAMES).default('onnx'),
  /** Threads of each process; null: cores divided by the processes on this machine, at least 1. */
  threads: z.int().min(1).max(1024).nullable().default(null),
})

export const SplitGroup = z.strictObject({
  topology: z.enum(['split', 'federated', 'centralized', 'local']).default('split'),
  /** Number of client blocks, 0 to the model's layers. */
  cut_layer: z.int().min(0).default(2),
  /** Last blocks that run on the client too (U-shape). */
  tail_layers: z.int().min(0).default(0),
})

export const LoraGroup = z.strictObject({
  r: z.int().min(1).max(65536).default(8),
  lora_alpha: z.number().positive().default(16),
  lora_dropout: belowOne.default(0),
  /** Module names (last part of their path), a Python pattern for whole paths, or all linear layers but the output head; null: the family's PEFT default. */
  target_modules: z
    .union([names, z.string().min(1)], 'a list of module names, a pattern for their paths, or all-linear')
    .refine((targets) => typeof targets !== 'string' || patternProblem(targets) === null, {
      error: ({ input }) => `a pattern that can be read (${patternProblem(String(input))})`,
    })
    .nullable()
    .default(null),
  use_rslora: z.boolean().default(false),
  /** true: A Kaiming-uniform and B zero; gaussian: A normal with deviation 1/r and B zero. */
  init_lora_weights: z.union([z.literal(true), z.literal('gaussian')], 'true or gaussian').default(true),
  /** Rank or alpha of single modules, by names or Python patterns for their paths; the first that matches counts. */
  rank_pattern: byModule(z.int().min(1).max(65536)),
  alpha_pattern: byModule(z.number().positive()),
  /** A PEFT folder to start from; what it says of the keys above then holds, but of how to begin (model/warm-start.node.ts). */
  init_from: path.nullable().default(null),
})

export const DataGroup = z.strictObject({
  /** A data set by name, or the path of a file whose default export is one (datasets/own.ts). Resolved: `sotu` unless `path` is given, then null. */
  dataset: nameOrCode('sotu', './my-dataset.js').nullable().default(null),
  /** A JSONL or CSV file of rows, in place of `dataset`. */
  path: rowsFile.nullable().default(null),
  /** null: natural for `sotu` and for rows with `client`, else iid. */
  partition: z.enum(['natural', 'iid', 'dirichlet', 'shard', 'quantity']).nullable().default(null),
  /** Concentration of the partitions dirichlet and quantity: the smaller, the more the clients differ. */
  alpha: z.number().min(1e-6).max(1e6).default(0.5),
  /** Tokens of a row; longer rows are cut at the end. */
  max_length: z.int().min(2).max(1048576).default(256),
  completion_only_loss: z.boolean().default(true),
  /** Share of each client's rows that is held out for evaluation. */
  eval_fraction: belowOne.default(0.1),
  /** Held-out rows; then nothing is taken from the training rows. */
  eval_path: rowsFile.nullable().default(null),
  shuffle: z.boolean().default(true),
})

export const TrainGroup = z.strictObject({
  per_device_train_batch_size: z.int().min(1).max(65536).default(4),
  gradient_accumulation_steps: z.int().min(1).max(65536).default(1),
  optim: z.enum(['adamw', 'sgd']).default('adamw'),
  learning_rate: z.number().min(0).default(0.0005),
  lr_scheduler_type: z.enum(['constant', 'linear', 'cosine']).default('constant'),
  /** Share of all schedule positions in which the rate rises from 0. */
  warmup_ratio: fraction.default(0),
  weight_decay: z.number().min(0).default(0.01),
  adam_beta1: belowOne.default(0.9),
  adam_beta2: belowOne.default(0.999),
  adam_epsilon: z.number().positive().default(1e-8),
  /** Each side clips by its own norm; 0: off. */
  max_grad_norm: z.number().min(0).default(1),
  label_smoothing_factor: belowOne.default(0),
  seed: z.int().min(0).default(42),
  gradient_checkpointing: z.boolean().default(false),
  group_by_length: z.boolean().default(true),
})

export const FederationGroup = z.strictObject({
  num_rounds: z.int().min(1).max(1e6).default(5),
  num_clients: z.int().min(1).max(100_000).default(4),
  /** Local steps of a round. Resolved: 10 unless `local_epochs` is given, then null. */
  local_steps: z.int().min(1).max(1e6).nullable().default(null),
  /** Passes over its own rows that a client makes in a round, in place of `local_steps`. */
  local_epochs: z.int().min(1).max(1e6).nullable().default(null),
  /** A name, or the path of a file whose default export is a strategy (server/strategy/define.ts). */
  strategy: nameOrCode('fedavg', './my-strategy.js').default('fedavg'),
  strategy_options: z.record(z.string(), z.unknown()).default({}),
  top: z.enum(['joint', 'sequential', 'replicated']).default('joint'),
  order: z.enum(['id', 'arrival']).default('id'),
  weight_by: z.enum(['examples', 'tokens', 'uniform']).default('examples'),
  optimizer_state: z.enum(['average', 'reset', 'keep']).default('average'),
  fraction_train: fraction.gt(0).default(1),
  fraction_evaluate: fraction.default(1),
  min_train_clients: z.int().min(1).default(1),
  /** Resolved: every client of the run unless given. */
  min_available_clients: z.int().min(1).nullable().default(null),
  min_replies: z.int().min(1).default(1),
  /** How long a client may be silent or unconnected before it is lost. */
  reconnect_s: seconds.max(86400).default(30),
  step_deadline_s: seconds.nullable().default(null),
  round_deadline_s: seconds.nullable().default(null),
  on_client_loss: z.enum(['continue', 'restart_round']).default('continue'),
})

export const PrivacyGroup = z.strictObject({})

export const TransportGroup = z.strictObject({
  kind: z.enum(['socket', 'memory']).default('socket'),
  activation_codec: codecSetting('activations', 'fp32'),
  gradient_codec: codecSetting('gradients', 'fp32'),
  /** The relative increase of the loss that codecs chosen by `auto` may cost. */
  codec_loss_budget: fraction.default(0.001),
  /** What codecs that remember rows may hold of each client in each direction, on each end. */
  codec_cache_bytes: z.int().min(0).max(1099511627776).default(268435456),
  /** Larger messages go in chunks of this size. */
  max_chunk_bytes: z.int().min(1024).max(1073741824).default(1048576),
  /** The largest message, and what may be under way at once on one connection. */
  max_inflight_bytes: z.int().min(1024).max(1099511627776).default(268435456),
  /** PEM files of the server's certificate and private key. */
  tls: z.strictObject({ cert: path, key: path }).nullable().default(null),
  /** A file that holds the token a client must show, or the digests of each client's own. A token itself never stands in a config. */
  token_file: path.nullable().default(null),
})

export const OutputGroup = z.strictObject({
  output_dir: path.default('runs'),
  /** Names the run's folder. Resolved: the config file's name without its extension. */
  run_name: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
      'a name of 1 to 100 letters, digits, dots, dashes or underscores that starts with a letter or digit',
    )
    .nullable()
    .default(null),
  report_to: z.literal('jsonl').default('jsonl'),
  /** How many checkpoints are kept, of the last rounds. */
  save_total_limit: z.int().min(1).default(2),
  save_best: z.boolean().default(true),
  logging_steps: z.int().min(1).default(1),
})

export const EvalGroup = z.strictObject({
  every_rounds: z.int().min(1).default(1),
  /** Per client; null: all of its held-out rows. */
  max_eval_batches: z.int().min(1).nullable().default(null),
})
