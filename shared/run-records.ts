/**
 * @file The lines and files of a run directory. Writers and readers share these schemas; scripts outside rely on the names.
 *
 * A loss that is not a number, or was not measured, is null; the line's `reason` says why where that is not plain.
 * Readers let unknown keys pass, so that an older program reads a newer run.
 */
import { z } from 'zod'

export const RECORDS_VERSION = 1

const Count = z.int().nonnegative()
const Measured = z.number().nullable()
const reason = z.string().optional()
const Time = z.iso.datetime() // RFC 3339, UTC

/** What one direction of a client's cut was packed with in a round. */
export const CodecUse = z.object({
  codec: z.string(),
  /** Where the config says `auto`: why this one, and what was measured. */
  auto: z
    .object({
      reason: z.string(),
      /** The round whose measurements these are; null: none yet. */
      measured_round: Count.nullable(),
      /** Of the link in this direction, while transferring; null: too fast to tell. */
      bytes_per_s: Measured,
      /** Of a step without the client's transfers. */
      step_s: Measured,
      /** What the transfers of a step in this direction were expected to take with that codec. */
      transfer_s: Measured,
    })
    .optional(),
})
export type CodecUse = z.infer<typeof CodecUse>

/** One client's part of a round. Losses are nats per scored token, bytes as on the wire. */
export const RoundClient = z.object({
  id: z.string(),
  /** Training rows it holds, and scored tokens in them. */
  examples: Count,
  tokens: Count,
  /** Local steps it made. */
  steps: Count,
  train_loss: Measured,
  eval_loss: Measured,
  seconds: z.object({ compute: z.number(), wait: z.number(), network: z.number() }),
  uplink_bytes: Count,
  downlink_bytes: Count,
  /** Where it trained through the server. */
  codecs: z.object({ activations: CodecUse, gradients: CodecUse }).optional(),
})
export type RoundClient = z.infer<typeof RoundClient>

/** A line of metrics/rounds.jsonl. Round 0 is the evaluation before training: no aggregation, no train_loss. */
export const RoundLine = z.object({
  round: Count,
  attempt: Count,
  train_loss: Measured,
  eval_loss: Measured,
  eval_perplexity: Measured,
  eval_bits_per_byte: Measured,
  seconds: z.number(),
  clients: z.array(RoundClient),
  aggregation: z
    .object({
      /** Both are `none` in the topology `local`. */
      strategy: z.string(),
      weight_by: z.string(),
      /** How many adapters went into the mean; `local`: how many came back trained. */
      replies: Count,
      /** Ids of the selected clients that are not among them. */
      missing: z.array(z.string()),
      /** Why each of these is missing. Where nobody is, and in lines of older versions, there are none. */
      reasons: z.record(z.string(), z.string()).optional(),
    })
    .nullable(),
  reason,
})
export type RoundLine = z.infer<typeof RoundLine>

/** A line of metrics/steps.jsonl. `client: null` is a joint top's own step. */
export const StepLine = z.object({
  round: z.int().positive(),
  attempt: Count,
  step: Count,
  client: z.string().nullable(),
  loss: Measured,
  tokens: Count,
  lr: z.number(),
  /** Of the client's side, before clipping; null in the line of a joint top. */
  grad_norm: Measured,
  /** Of the top's side, before clipping; null in a client's line where the top is joint. */
  top_grad_norm: Measured,
  reason,
})
export type StepLine = z.infer<typeof StepLine>

/** A line of traffic.jsonl: what one client sent or got in one round, by kind. */
export const TrafficLine = z.object({
  round: Count,
  attempt: Count,
  client: z.string(),
  direction: z.enum(['up', 'down']),
  kind: z.enum(['activations', 'gradients', 'adapter', 'weights', 'evaluation', 'control']),
  messages: Count,
  payload_bytes: Count,
  wire_bytes: Count,
  /** What the cut tensors in it are as fp32 (protocol/traffic.ts says which count); 0 where there are none. Lines of older versions have none. */
  fp32_bytes: Count.default(0),
})
export type TrafficLine = z.infer<typeof TrafficLine>

/** A line of events.jsonl: join, leave, retry, deadline, refused, and what else happens to a run. */
export const EventLine = z.looseObject({
  time: Time,
  event: z.string(),
  client: z.string().nullable().optional(),
  round: Count.optional(),
  reason,
})
export type EventLine = z.infer<typeof EventLine>

/** What a writer hands over of an event; the time is added as it is written. */
export interface RunEvent {
  readonly event: string
  readonly client?: string | null
  readonly round?: number
  readonly reason?: string
  readonly [field: string]: unknown
}

const RoundScore = z.object({ round: Count, eval_loss: Measured, eval_perplexity: Measured })

/** metrics/summary.json, written once at the end. */
export const Summary = z.object({
  schema_version: z.int(),
  status: z.enum(['complete', 'interrupted', 'failed']),
  started: Time,
  ended: Time,
  seconds: z.number(),
  /** Rounds that were finished. */
  rounds: Count,
  /** Before training (round 0), after the last round, and the best of all. Null where nothing was evaluated. */
  before: RoundScore.nullable(),
  last: RoundScore.nullable(),
  best: RoundScore.nullable(),
  uplink_bytes: Count,
  downlink_bytes: Count,
  /** Of a run that failed. */
  error: z.object({ code: z.string(), what: z.string(), why: z.string(), fix: z.string() }).nullable(),
  reason,
})
export type Summary = z.infer<typeof Summary>

export const ModelFacts = z.object({
  name: z.string(),
  digest: z.string(),
  family: z.string(),
  layers: z.int().positive(),
  hidden_size: z.int().positive(),
  parameters: Count,
})
export type ModelFacts = z.infer<typeof ModelFacts>

/** The runs that one command made of several seeds. */
export const RunGroup = z.object({
  /** The same in all of them. */
  id: z.string(),
  /** Of the group's runs, in the order they were made. */
  seeds: z.array(Count).min(1),
  /** Which of them this run is, from 0. */
  index: Count,
})
export type RunGroup = z.infer<typeof RunGroup>

/** A file of the user's own code that a run used. */
export const CodeFile = z.object({
  /** As the config names it. */
  path: z.string(),
  /** Of its bytes; null for a file that is not on the server's machine. */
  sha256: z.string().nullable(),
})
export type CodeFile = z.infer<typeof CodeFile>

/** metadata.json, written at the start, and again when the run goes on. */
export const Metadata = z.object({
  schema_version: z.int(),
  id: z.string(),
  name: z.string(),
  created: Time,
  host: z.object({ name: z.string(), platform: z.string(), arch: z.string(), cpu: z.string(), cores: Count, memory_bytes: Count }),
  /** cutlayer, node, and the libraries that compute. */
  versions: z.record(z.string(), z.string()),
  argv: z.array(z.string()),
  /** Of the process that writes the run, on that host: tells a run that goes on from one that died. Older runs have none. */
  pid: z.int().positive().optional(),
  model: ModelFacts,
  /** By what they are. */
  code: z.object({ strategy: CodeFile.optional(), dataset: CodeFile.optional() }).optional(),
  group: RunGroup.optional(),
  /** Processes that went on with the run after it was interrupted, in their order; all else here is the first one's. */
  resumed: z
    .array(z.object({ time: Time, argv: z.array(z.string()), pid: z.int().positive(), versions: z.record(z.string(), z.string()) }))
    .optional(),
})
export type Metadata = z.infer<typeof Metadata>

/**
 * A record as JSON can hold it: numbers that JSON has no word for become null, and `reason` says which.
 *
 * @returns the same keys in the same order
 */
export function withoutNaN(record: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const found: string[] = []
  const clean = (value: unknown, path: string): unknown => {
    if (typeof value === 'number' && !Number.isFinite(value)) {
      found.push(`${path} is ${value}`)
      return null
    }
    if (Array.isArray(value)) return value.map((entry, index) => clean(entry, `${path}[${index}]`))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, clean(entry, path === '' ? key : `${path}.${key}`)]))
  }
  const cleaned = clean(record, '') as Readonly<Record<string, unknown>>
  if (found.length === 0) return cleaned
  const given = typeof record.reason === 'string' ? [record.reason] : []
  return { ...cleaned, reason: [...given, ...found].join('; ') }
}
