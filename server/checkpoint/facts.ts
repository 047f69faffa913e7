/**
 * @file checkpoint.json: what a checkpoint says beside its tensors, and which files belong to it.
 *
 * Readers of a later version go on reading this one: the folder in `testing/version-1` proves it.
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ClientId, Part } from '../../shared/protocol/messages.js'
import { TrafficLine } from '../../shared/run-records.js'
import { Torn } from './torn.js'

/** A change that an older program would misread raises it; it then refuses the checkpoint by name. */
export const CHECKPOINT_VERSION = 1

export const FACTS_FILE = 'checkpoint.json'

/** Far more than the facts of a hundred thousand clients take. */
export const MOST_FACTS_BYTES = 256 * 2 ** 20

/** All files of tensors that a checkpoint may have; which it has is in `files`. */
export const TENSOR_FILES = ['adapter', 'moments', 'kept', 'own', 'strategy', 'best'] as const
export type TensorFile = (typeof TENSOR_FILES)[number]

const Count = z.int().nonnegative()
const Bytes = z.object({ payload_bytes: Count, wire_bytes: Count, fp32_bytes: Count })

export const Best = z.object({
  /** null: of the adapter that all share. */
  client: ClientId.nullable(),
  round: Count,
  eval_loss: z.number(),
})
/** The lowest held-out loss of an adapter, and the round that it ended. */
export type Best = z.infer<typeof Best>

export const CheckpointFacts = z.object({
  version: z.literal(CHECKPOINT_VERSION),
  /** Which cutlayer wrote it. */
  cutlayer: z.string(),
  round: z.int().positive(),
  attempt: Count,
  /** Of a round in the schedule. */
  local_steps: z.int().positive(),
  /** The base model's. */
  model_digest: z.string(),
  strategy: z.string(),
  members: z.array(
    z.object({
      id: ClientId,
      part: Part.nullable(),
      counts: z.object({ examples: Count, tokens: Count, eval_examples: Count }).nullable(),
      /** Whether it was there, with model and data. */
      ready: z.boolean(),
    }),
  ),
  /** The last round of whose mean each client was part. */
  kept_rounds: z.array(z.object({ client: ClientId, round: Count })),
  /** Whether the server holds a part of the adapter. */
  has_top: z.boolean(),
  /** How many updates the optimizers have made whose moments are here; null: there are no such moments. */
  updates: z.object({
    clients: Count.nullable(),
    top: Count.nullable(),
    kept: z.array(z.object({ client: ClientId, updates: Count })),
  }),
  /** Clients' own adapters (topology `local`). */
  own: z.array(z.object({ client: ClientId, round: Count, updates: Count.nullable() })),
  best: z.array(Best),
  /** Of all rounds whose traffic is written down. */
  totals: z.object({ uplink_bytes: Count, downlink_bytes: Count, cut: z.object({ up: Bytes, down: Bytes }) }),
  /** What had crossed the links and was not written down yet. */
  traffic: z.array(TrafficLine),
  files: z.array(z.object({ name: z.enum(TENSOR_FILES), bytes: Count, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
})
export type CheckpointFacts = z.infer<typeof CheckpointFacts>

/** The file's text. Its last key is the SHA-256 of all others, and it is laid out so, in every version. */
export function withDigest(facts: CheckpointFacts): string {
  return formatted({ ...facts, sha256: digestOf(facts) })
}

function formatted(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** What such a text says, as far as any version is read alike. @throws Torn */
export function digested(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Torn(`${FACTS_FILE} is no JSON`)
  }
  if (formatted(value) !== text) throw new Torn(`${FACTS_FILE} is not as it was written`)
  if (typeof value !== 'object' || value === null || !('sha256' in value)) throw new Torn(`${FACTS_FILE} has no checksum`)
  const { sha256, ...facts } = value
  if (sha256 !== digestOf(facts)) throw new Torn(`${FACTS_FILE} is not what its checksum was made of`)
  return facts
}

/** Numbers, texts and the order of keys survive JSON as they are. */
function digestOf(facts: object): string {
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex')
}
