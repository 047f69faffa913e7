/**
 * @file Every message between a client and the edge server: the schema is the type, and lists all that leaves either machine.
 *
 * Order of a run: hello -> welcome | refused; ready; then per round: round-start, (activations -> gradients | dropped | resync, step)*,
 * adapter, evaluate -> (activations -> loss)*, evaluation, round-end; last: finish. `heartbeat` runs beside it all. Where room is short, activations are
 * offered first: offer -> grant | dropped. A client that lacks the model asks for it after welcome: model-request -> model-files; (file-request -> file-piece)*.
 */
import { z } from 'zod'
import { ClientConfig } from '../config/schema.js'
import { ERROR_CODES, type ErrorCode } from '../errors.js'
import { MAX_PIECE_BYTES, ModelFileName } from '../model/model-files.js'
import { ClientId } from './client-id.js'
import { MOST_NAME_CHARACTERS } from './codec/name.js'

export { ClientId } from './client-id.js'

/** Both ends compare this on connect; a change to any message below raises it. */
export const PROTOCOL_VERSION = 7

const Count = z.int().nonnegative()
const Bytes = z.instanceof(Uint8Array)
const CodecName = z.string().max(MOST_NAME_CHARACTERS)
/** Dimensions that fit an index; a decoder also compares their product with the bytes it got. */
const Shape = z.array(z.int().min(0).max(0x7fffffff)).max(8)

/** A tensor as one codec packed it. `bytes` may start at any offset of its buffer, so copy it before viewing it as f32. */
export const CodedTensor = z.object({ codec: CodecName, shape: Shape, bytes: Bytes })
export type CodedTensor = z.infer<typeof CodedTensor>

/** Tensors by name; adapters and moments travel so, always as fp32. */
export const TensorMap = z.record(z.string().max(256), CodedTensor)
export type TensorMap = z.infer<typeof TensorMap>

/** AdamW's state: both moments of every tensor, and how many updates were made. */
export const CodedMoments = z.object({ updates: Count, mean: TensorMap, square: TensorMap })
export type CodedMoments = z.infer<typeof CodedMoments>

export const Part = z.object({ index: Count, count: z.int().positive() })
export type Part = z.infer<typeof Part>

/** Which request a message belongs to. A repeat carries the same four numbers and is answered with the same reply. */
const request = { round: Count, attempt: Count, step: Count, micro: Count }
const inRound = { round: Count, attempt: Count }
/** What the client's activations, and its gradients, are packed with from now on; null: none cross. Another name than before ends what both ends remember of rows. */
const codecs = z.object({ activations: CodecName, gradients: CodecName }).nullable()

// ---- joining

/** Client to server, first message of every connection. `resume: false` says that this is a new process. */
export const Hello = z.object({
  type: z.literal('hello'),
  protocol: z.int(),
  client: ClientId,
  token: z.string().max(512).nullable(),
  resume: z.boolean(),
  /** Which part of the config's data this client was told to take; null: the server gives it one. */
  part: Part.nullable(),
  /** Whether it brings data of its own (`--data`) and so needs no part. */
  own_data: z.boolean(),
  capabilities: z.object({ codecs: z.array(z.string().max(64)).max(64), engine: z.string().max(64), software: z.string().max(128) }),
})

/** What identifies the base model: names, and the digest of each tensor so that a client can check just those it holds. */
export const ModelCard = z.object({
  name: z.string().max(512),
  digest: z.string().max(128),
  family: z.string().max(64),
  layers: z.int().positive(),
  hidden_size: z.int().positive(),
  tensors: z.record(z.string().max(256), z.string().max(128)),
})
export type ModelCard = z.infer<typeof ModelCard>

export const Welcome = z.object({
  type: z.literal('welcome'),
  protocol: z.int(),
  run: z.string().max(256),
  config: ClientConfig,
  model: ModelCard,
  part: Part.nullable(),
  limits: z.object({ max_chunk_bytes: z.int().positive(), max_message_bytes: z.int().positive(), heartbeat_s: z.number().positive() }),
})

/** Also ends a run for one client: the error tells what it can do. */
export const Failure = z.object({
  code: z.enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]]),
  what: z.string().max(4096),
  why: z.string().max(4096),
  fix: z.string().max(4096),
})
export const Refused = z.object({ type: z.literal('refused'), error: Failure })
export const ErrorMessage = z.object({ type: z.literal('error'), error: Failure })

/** Client to server, once it has its model and data: what weights its adapter in the mean, and how long its epoch is. */
export const Ready = z.object({
  type: z.literal('ready'),
  examples: Count,
  /** Scored tokens in its training rows. */
  tokens: Count,
  eval_examples: Count,
})

// ---- the model's files, for a client that lacks them

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)

/** Client to server: which files has the model? Asked once on a link. */
export const ModelRequest = z.object({ type: z.literal('model-request') })

/** Server to client: every file there is, and of which bytes the tensors' digests were made. */
export const ModelFiles = z.object({
  type: z.literal('model-files'),
  files: z.record(ModelFileName, z.object({ bytes: Count, sha256: Sha256 })),
  /** As the checkpoint stores them; a client finds the digests of `ModelCard.tensors` from these. */
  tensors: z.record(z.string().max(256), z.object({ dtype: z.string().max(16), shape: Shape, sha256: Sha256 })),
})
export type ModelFiles = z.infer<typeof ModelFiles>

/** Client to server: so many bytes of a file that model-files lists. A few may be on their way; they are answered in order. */
export const FileRequest = z.object({
  type: z.literal('file-request'),
  file: ModelFileName,
  offset: Count,
  bytes: z.int().positive().max(MAX_PIECE_BYTES),
})
export type FileRequest = z.infer<typeof FileRequest>

/** Server to client: exactly the bytes that were asked for. */
export const FilePiece = z.object({ type: z.literal('file-piece'), file: ModelFileName, offset: Count, bytes: Bytes })

// ---- a round

export const RoundStart = z.object({
  type: z.literal('round-start'),
  ...inRound,
  adapter: TensorMap,
  moments: CodedMoments.nullable(),
  /** `optimizer_state: keep`: the round at whose end the client kept the moments it is to take; null: empty ones. */
  keep_from: Count.nullable(),
  /** Local steps this client is to make. */
  steps: Count,
  /** Schedule position of step 0, and how many positions the run has. */
  position: Count,
  positions: z.int().positive(),
  codecs,
  deadlines: z.object({ step_s: z.number().nullable(), round_s: z.number().nullable() }),
  /** Whether activations of this round are offered before they are sent. */
  ask_first: z.boolean(),
})

/** Client to server: it has activations to send, and does so once they are granted. */
export const Offer = z.object({
  type: z.literal('offer'),
  ...request,
  purpose: z.enum(['train', 'evaluate']),
  tokens: z.int().positive(), // real ones, of all rows
})
export type Offer = z.infer<typeof Offer>

/** Server to client: there is room for what was offered. */
export const Grant = z.object({ type: z.literal('grant'), ...request })

/** Client to server, once per micro-batch: the smashed activations of the real tokens, and what they are to predict. */
export const Activations = z.object({
  type: z.literal('activations'),
  ...request,
  hop: z.literal(0), // which cut of a chain of cuts
  purpose: z.enum(['train', 'evaluate']),
  lengths: Bytes, // [rows] in `varints.ts`: tokens of each row; no padding crosses the wire
  hidden: CodedTensor, // [sum(lengths), hidden]
  rows: Bytes, // which training rows these are, and what both ends hold of them (cut/rows.ts); empty where nobody remembers rows
  scored: Bytes, // [sum(lengths)] in `mask.ts`: which of the real tokens predict one that counts
  targets: Bytes, // [scored tokens] in `varints.ts`, already shifted: what a scored position predicts
  normalizer: z.int().positive(), // scored tokens of the whole local step; the loss is divided by it
})
export type Activations = z.infer<typeof Activations>

/** Server to client: dLoss/dZ of that micro-batch, and its plain nll summed over its scored tokens, in nats. */
export const Gradients = z.object({
  type: z.literal('gradients'),
  ...request,
  hidden: CodedTensor,
  rows: Bytes, // what its rows are told against (cut/rows.ts); empty where it is told whole
  nll: z.number().nullable(),
  tokens: Count,
})
export type Gradients = z.infer<typeof Gradients>

/** Server to client: these activations are told against rows that the server does not hold. It waits for them again, whole. */
export const Resync = z.object({ type: z.literal('resync'), ...request })

/** Server to client: nothing of this step counts; make no update and go on with `next_step` (null: the round's steps are over). */
export const Dropped = z.object({
  type: z.literal('dropped'),
  ...inRound,
  step: Count,
  reason: z.string().max(256),
  next_step: Count.nullable(),
})

/** Client to server, after each local step. `nll` is summed over the step's scored tokens, in nats; null when it is not a number. */
export const StepReport = z.object({
  type: z.literal('step'),
  ...inRound,
  step: Count,
  outcome: z.enum(['updated', 'no-scored-tokens']),
  nll: z.number().nullable(),
  tokens: Count,
  lr: z.number(),
  grad_norm: z.number().nullable(),
})

/** Client to server at a round's end: its adapter, its moments where the strategy needs them, and its counts. */
export const AdapterUpdate = z.object({
  type: z.literal('adapter'),
  ...inRound,
  adapter: TensorMap,
  moments: CodedMoments.nullable(),
  steps: Count,
  seconds: z.object({ compute: z.number().nonnegative(), wait: z.number().nonnegative(), network: z.number().nonnegative() }),
  /** Its activations of the round: messages, their payload, and the time from sending each until the server was known to hold it. */
  upload: z.object({ messages: Count, bytes: Count, seconds: z.number().nonnegative() }),
  /** The shortest such time of a message without a tensor, of all that it has sent. */
  round_trip_s: z.number().nonnegative(),
})

export const RoundEnd = z.object({
  type: z.literal('round-end'),
  ...inRound,
  train_loss: z.number().nullable(),
  eval_loss: z.number().nullable(),
})

// ---- evaluation

/** Server to client: evaluate your held-out rows with this adapter. */
export const Evaluate = z.object({
  type: z.literal('evaluate'),
  ...inRound,
  adapter: TensorMap,
  codecs,
  max_batches: z.int().positive().nullable(),
  /** As in round-start. */
  ask_first: z.boolean(),
})

/** Server to client: the answer to activations whose purpose is `evaluate`. Sums over the batch, nats. */
export const Loss = z.object({ type: z.literal('loss'), ...request, nll: z.number().nullable(), tokens: Count })

/** Client to server: the sums over its held-out rows. `bytes` counts the UTF-8 bytes of the scored text, for bits per byte. */
export const Evaluation = z.object({
  type: z.literal('evaluation'),
  ...inRound,
  nll: z.number().nullable(),
  tokens: Count,
  bytes: Count,
  rows: Count,
})

// ---- the rest

export const Finish = z.object({ type: z.literal('finish'), reason: z.string().max(1024) })
export const Heartbeat = z.object({ type: z.literal('heartbeat') })

export const ClientMessage = z.discriminatedUnion('type', [
  Hello,
  ModelRequest,
  FileRequest,
  Ready,
  Activations,
  StepReport,
  AdapterUpdate,
  Evaluation,
  Heartbeat,
  ErrorMessage,
  Offer,
])
export type ClientMessage = z.infer<typeof ClientMessage>

export const ServerMessage = z.discriminatedUnion('type', [
  Welcome,
  Refused,
  ModelFiles,
  FilePiece,
  RoundStart,
  Gradients,
  Dropped,
  RoundEnd,
  Evaluate,
  Loss,
  Finish,
  Heartbeat,
  ErrorMessage,
  Resync,
  Grant,
])
export type ServerMessage = z.infer<typeof ServerMessage>

export type MessageOf<Type extends (ClientMessage | ServerMessage)['type']> = Extract<ClientMessage | ServerMessage, { type: Type }>
