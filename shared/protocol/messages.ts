/**
 * @file Every message between a client and the edge server: the schema is the type, and lists all that leaves either machine. What it says of messages
 * and fields is also the protocol's page (README.md here).
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
export const PROTOCOL_VERSION = 8

/** A client keeps moments of as many rounds as the server has checkpoints, and one or two more. */
export const MOST_KEPT = 10_000

const Count = z.int().nonnegative()
const Bytes = z.instanceof(Uint8Array)
const CodecName = z.string().max(MOST_NAME_CHARACTERS)
/** Dimensions that fit an index; a decoder also compares their product with the bytes it got. */
const Shape = z.array(z.int().min(0).max(0x7fffffff)).max(8)

/** A tensor as one codec packed it. `bytes` may start at any offset of its buffer, so copy it before viewing it as f32. */
export const CodedTensor = z
  .object({
    codec: CodecName.describe(
      'which codec packed it: its name, or, if that has more than 12 characters, `#` and its CRC-32 in 8 hexadecimal digits',
    ),
    shape: Shape.describe('its dimensions'),
    bytes: Bytes.describe('what the codec made of it; of `fp32`: f32, little-endian, row by row'),
  })
  .describe('A tensor as one codec packed it.')
export type CodedTensor = z.infer<typeof CodedTensor>

/** Tensors by name; adapters and moments travel so, always as fp32. */
export const TensorMap = z.record(z.string().max(256), CodedTensor)
export type TensorMap = z.infer<typeof TensorMap>

export const CodedMoments = z
  .object({
    updates: Count.describe('updates made'),
    mean: TensorMap.describe('first moments'),
    square: TensorMap.describe('second moments'),
  })
  .describe("AdamW's state: both moments of every tensor, and how many updates were made.")
export type CodedMoments = z.infer<typeof CodedMoments>

export const Part = z
  .object({ index: Count.describe('which part, from 0'), count: z.int().positive().describe('parts that there are') })
  .describe("A client's part of the rows that the config names.")
export type Part = z.infer<typeof Part>

const inRound = {
  round: Count.describe('rounds count from 1; 0 is the evaluation before training'),
  attempt: Count.describe('at this round, from 0'),
}
/** Which request a message belongs to. A repeat carries the same four numbers and is answered with the same reply. */
const request = {
  ...inRound,
  step: Count.describe('local step of the round, from 0; of an evaluation: the batch'),
  micro: Count.describe('micro-batch of the step, from 0'),
}
const codecs = z
  .object({
    activations: CodecName.describe("of the client's activations"),
    gradients: CodecName.describe('of the gradients that it gets'),
  })
  .nullable()
  .describe('what to pack with from now on; nil: none cross. Another name than before ends what both ends remember of rows')
const askFirst = z.boolean().describe('whether activations of this round are offered before they are sent')
const nll = z.number().nullable().describe('negative log-likelihood, summed over the scored tokens, in nats; nil: it is no number')

// ---- joining

export const Hello = z
  .object({
    type: z.literal('hello'),
    protocol: z.int().describe('version of the protocol that the client speaks'),
    client: ClientId.describe('its id: letters, digits, dots, dashes, underscores'),
    token: z.string().max(512).nullable().describe("the client's own token, or that of all clients; nil: it has none to show"),
    secret: z
      .string()
      .max(128)
      .nullable()
      .describe(
        'a long random word that the client keeps from process to process, for this server and this id alone; with it a new process may take the place of the one before at once. nil: it keeps none',
      ),
    resume: z.boolean().describe('true: the link goes on over a new connection; false: this is a new process'),
    part: Part.nullable().describe("which part of the config's data the client was told to take; nil: the server gives it one"),
    own_data: z.boolean().describe('whether it brings rows of its own, and so needs no part'),
    capabilities: z.object({
      codecs: z.array(z.string().max(64)).max(64).describe("parts of codecs' names that it knows"),
      engine: z.string().max(64).describe('what computes'),
      software: z.string().max(128).describe('program and version'),
    }),
  })
  .describe('Who a client is; sent with every connection, by the transport.')

export const ModelCard = z
  .object({
    name: z.string().max(512).describe('hub id or name of its folder'),
    digest: z.string().max(128).describe('SHA-256 over the names and digests of all tensors, in hexadecimal'),
    family: z.string().max(64).describe('`gpt2`, `llama`, ...'),
    layers: z.int().positive().describe('blocks'),
    hidden_size: z.int().positive().describe('channels of a token between blocks'),
    tensors: z
      .record(z.string().max(256), z.string().max(128))
      .describe('digest of each tensor by its name, so that a client can check just those it holds'),
  })
  .describe('What identifies the base model.')
export type ModelCard = z.infer<typeof ModelCard>

export const Welcome = z
  .object({
    type: z.literal('welcome'),
    protocol: z.int().describe('version of the protocol that the server speaks'),
    run: z.string().max(256).describe('name of the run'),
    config: ClientConfig.describe("the client's part of the run's config"),
    model: ModelCard,
    part: Part.nullable().describe("the client's part of the rows that the config names; nil: all of them, or rows of its own"),
    limits: z.object({
      max_chunk_bytes: z.int().positive().describe('of a chunk, in bytes'),
      max_message_bytes: z.int().positive().describe('of a packed message, in bytes'),
      heartbeat_s: z.number().positive().describe('seconds between signs of life'),
    }),
  })
  .describe('The client is let in.')

export const Failure = z
  .object({
    code: z.enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]]).describe('for programs; the codes stand below'),
    what: z.string().max(4096).describe('what happened'),
    why: z.string().max(4096).describe('why it did'),
    fix: z.string().max(4096).describe('what a person can do'),
  })
  .describe('What went wrong.')
export const Refused = z.object({ type: z.literal('refused'), error: Failure }).describe('The client is not let in; the link closes.')
export const ErrorMessage = z
  .object({ type: z.literal('error'), error: Failure })
  .describe('The run is over for this client, because of an error of its own, of the server, or of the run; the link closes.')

export const Ready = z
  .object({
    type: z.literal('ready'),
    examples: Count.describe('training rows it holds'),
    tokens: Count.describe('scored tokens in them'),
    eval_examples: Count.describe('held-out rows it holds'),
    kept: z
      .array(Count)
      .max(MOST_KEPT)
      .describe('with `optimizer_state: keep`: rounds at whose end it kept moments that it still has; else none'),
  })
  .describe('The client has its model and data: what weights its adapter in the mean, and how long its epoch is.')

// ---- the model's files, for a client that lacks them

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)

export const ModelRequest = z.object({ type: z.literal('model-request') }).describe('Which files has the model? Asked once on a link.')

export const ModelFiles = z
  .object({
    type: z.literal('model-files'),
    files: z
      .record(ModelFileName, z.object({ bytes: Count.describe('its length'), sha256: Sha256 }))
      .describe('every file there is, by its name'),
    tensors: z
      .record(z.string().max(256), z.object({ dtype: z.string().max(16).describe('as in safetensors'), shape: Shape, sha256: Sha256 }))
      .describe('every tensor by its name, as the checkpoint stores it; the digests of ModelCard follow from these'),
  })
  .describe("Every file there is, and of which bytes the tensors' digests were made.")
export type ModelFiles = z.infer<typeof ModelFiles>

export const FileRequest = z
  .object({
    type: z.literal('file-request'),
    file: ModelFileName.describe('its name in model-files'),
    offset: Count.describe('first byte'),
    bytes: z.int().positive().max(MAX_PIECE_BYTES).describe('how many'),
  })
  .describe('So many bytes of a file that model-files lists. Up to four may be on their way; they are answered in order.')
export type FileRequest = z.infer<typeof FileRequest>

export const FilePiece = z
  .object({
    type: z.literal('file-piece'),
    file: ModelFileName.describe('as in the request'),
    offset: Count.describe('as in the request'),
    bytes: Bytes.describe('exactly those that were asked for'),
  })
  .describe('A piece of a file.')

// ---- a round

export const RoundStart = z
  .object({
    type: z.literal('round-start'),
    ...inRound,
    adapter: TensorMap.describe('what the client trains on from; fp32'),
    moments: CodedMoments.nullable().describe('the optimizer state it goes on with; nil: as keep_from says'),
    keep_from: Count.nullable().describe(
      'with `optimizer_state: keep`: the round at whose end the client kept the moments it is to take; nil: empty ones',
    ),
    keep_since: Count.nullable().describe(
      'with `optimizer_state: keep`: once this round is kept, moments of rounds before this one are never asked for again; nil: none are kept',
    ),
    steps: Count.describe('local steps that the client is to make'),
    position: Count.describe("of step 0 in the learning rate's schedule"),
    positions: z.int().positive().describe('of the whole run in it'),
    codecs,
    deadlines: z.object({
      step_s: z.number().nullable().describe('for a step, in seconds; nil: none'),
      round_s: z.number().nullable().describe('for the round, in seconds; nil: none'),
    }),
    ask_first: askFirst,
  })
  .describe('A round begins.')

export const Offer = z
  .object({
    type: z.literal('offer'),
    ...request,
    purpose: z.enum(['train', 'evaluate']),
    tokens: z.int().positive().describe('real ones, of all rows'),
  })
  .describe('The client has activations to send, and does so once they are granted.')
export type Offer = z.infer<typeof Offer>

export const Grant = z.object({ type: z.literal('grant'), ...request }).describe('There is room for what was offered.')

export const Activations = z
  .object({
    type: z.literal('activations'),
    ...request,
    hop: z.literal(0), // which cut of a chain of cuts
    purpose: z.enum(['train', 'evaluate']),
    lengths: Bytes.describe('varints [rows]: tokens of each row; no padding crosses the wire'),
    hidden: CodedTensor.describe('the smashed activations [tokens of all rows, hidden size]'),
    rows: Bytes.describe('varints: which training rows these are, and what both ends hold of them; empty where no codec remembers rows'),
    scored: Bytes.describe('mask [tokens of all rows]: which of them predict one that counts'),
    targets: Bytes.describe('varints [scored tokens], already shifted: the id that a scored position predicts'),
    normalizer: z.int().positive().describe('scored tokens of the whole local step; the loss is divided by it'),
  })
  .describe('A micro-batch: the smashed activations of its real tokens, and what they are to predict.')
export type Activations = z.infer<typeof Activations>

export const Gradients = z
  .object({
    type: z.literal('gradients'),
    ...request,
    hidden: CodedTensor.describe('gradient of the loss by the activations [tokens of all rows, hidden size]'),
    rows: Bytes.describe('varints: what its rows are told against; empty where it is told whole'),
    nll,
    tokens: Count.describe('scored tokens of the micro-batch'),
  })
  .describe('The answer to activations that train.')
export type Gradients = z.infer<typeof Gradients>

export const Resync = z
  .object({ type: z.literal('resync'), ...request })
  .describe('The activations are told against rows that the server does not hold. It waits for them again, whole.')

export const Dropped = z
  .object({
    type: z.literal('dropped'),
    ...inRound,
    step: Count.describe('local step, from 0'),
    reason: z.string().max(256),
    next_step: Count.nullable().describe("to go on with; nil: the round's steps are over"),
  })
  .describe('Nothing of this step counts: make no update.')

export const StepReport = z
  .object({
    type: z.literal('step'),
    ...inRound,
    step: Count.describe('local step, from 0'),
    outcome: z.enum(['updated', 'no-scored-tokens']),
    nll,
    tokens: Count.describe('scored tokens of the step'),
    lr: z.number().describe('learning rate of the update'),
    grad_norm: z.number().nullable().describe("of the client's gradient, before clipping; nil: it is no number"),
  })
  .describe('After each local step.')

export const AdapterUpdate = z
  .object({
    type: z.literal('adapter'),
    ...inRound,
    adapter: TensorMap.describe('the trained one; fp32'),
    moments: CodedMoments.nullable().describe('where the strategy needs them'),
    steps: Count.describe('local steps made'),
    seconds: z.object({
      compute: z.number().nonnegative().describe('in which it computed'),
      wait: z.number().nonnegative().describe('in which it waited for the server'),
      network: z.number().nonnegative().describe('in which its messages were under way'),
    }),
    upload: z
      .object({
        messages: Count,
        bytes: Count.describe('their payload'),
        seconds: z.number().nonnegative().describe('from sending each until the server was known to hold it, summed'),
      })
      .describe('its activations of the round'),
    round_trip_s: z.number().nonnegative().describe('the shortest such time of a message without a tensor, of all that it has sent'),
  })
  .describe("What a client has come to at a round's end.")

export const RoundEnd = z
  .object({
    type: z.literal('round-end'),
    ...inRound,
    train_loss: z.number().nullable().describe('mean over all clients, nats per scored token; nil: none'),
    eval_loss: z.number().nullable().describe('the same of held-out rows; nil: not evaluated'),
  })
  .describe('A round is over.')

// ---- evaluation

export const Evaluate = z
  .object({
    type: z.literal('evaluate'),
    ...inRound,
    adapter: TensorMap.describe('what to evaluate; fp32'),
    codecs,
    max_batches: z.int().positive().nullable().describe('of held-out rows; nil: all of them'),
    ask_first: askFirst,
  })
  .describe('The client is to evaluate its held-out rows.')

export const Loss = z
  .object({ type: z.literal('loss'), ...request, nll, tokens: Count.describe('scored tokens of the batch') })
  .describe('The answer to activations that evaluate.')

export const Evaluation = z
  .object({
    type: z.literal('evaluation'),
    ...inRound,
    nll,
    tokens: Count.describe('scored tokens of the held-out rows'),
    bytes: Count.describe('of the scored text in UTF-8, for bits per byte'),
    rows: Count.describe('held-out rows'),
  })
  .describe("Sums over a client's held-out rows.")

// ---- the rest

export const Finish = z
  .object({
    type: z.literal('finish'),
    reason: z.string().max(1024),
    complete: z.boolean().describe('whether all rounds were made: what a client keeps for this run may go'),
  })
  .describe('The run is over; the link closes.')
export const Heartbeat = z
  .object({ type: z.literal('heartbeat') })
  .describe('A sign of life; an end may also send it as a frame of that name.')

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
