/**
 * @file What one client sends and gets in a round, message by message, as the client and the server make them. Pure.
 */
import type { Config } from '../../shared/config/schema.js'
import { evaluationName, rememberingEnds } from '../../shared/protocol/codec/name.js'
import type { CutCodecNames } from '../../shared/protocol/codec/setting.js'
import type { CodedMoments, MessageOf, TensorMap } from '../../shared/protocol/messages.js'
import { varintBytes } from '../../shared/protocol/varints.js'
import type { BatchSize } from './flops.js'
import { Lengths, messageTraffic, type Traffic } from './wire.js'

/** A micro-batch, and the bytes that its rows' lengths, mask and targets take in a message. */
export interface MicroBatch extends BatchSize {
  readonly lengthsBytes: number
  readonly maskBytes: number
  readonly targetsBytes: number
}

/** What a client does in a round. */
export interface RoundWork {
  /** From 1; 0 is the evaluation before training. */
  readonly round: number
  /** The micro-batches of each local step. */
  readonly steps: readonly (readonly MicroBatch[])[]
  /** The batches of its held-out rows; null in a round without evaluation. */
  readonly evaluation: readonly MicroBatch[] | null
}

export interface WireSetting {
  readonly config: Config
  readonly hiddenSize: number
  /** Whether clients send activations; else they hold the whole model. */
  readonly isSplit: boolean
  /** Whether clients offer activations before they send them, because the server has no room for those of all. */
  readonly asksFirst: { readonly training: boolean; readonly evaluation: boolean }
  /** What the client's tensors are packed with. */
  readonly codecs: CutCodecNames
  /** Name and shape of every adapter tensor that clients hold. */
  readonly adapter: ReadonlyMap<string, readonly [number, number]>
}

const F32_BYTES = 4
/** Losses and norms are float64 on the wire unless they happen to be whole. */
const A_NUMBER = 0.1

/**
 * Every message of a client's round. The sizes of byte arrays are exact; numbers may be a byte or two shorter on the wire. Not counted, as in
 * traffic.jsonl: heartbeats, and what is sent again after a broken connection. Rows that codecs remember are counted as if they came for the first time.
 */
export function roundTraffic(given: WireSetting, work: RoundWork): Traffic[] {
  const setting = { ...given, messageNumber: 1 + work.round * messagesOf(work) }
  return [...(work.round === 0 ? [] : training(setting, work)), ...evaluation(setting, work), roundEnd(setting, work)]
}

/** Roughly, of a client in a round, with what it reports. */
function messagesOf({ steps, evaluation: batches }: RoundWork): number {
  const micros = steps.reduce((sum, step) => sum + step.length, 0)
  return micros + steps.length + (batches?.length ?? 0) + 2
}

/** With the number of some message of the round. */
interface RoundSetting extends WireSetting {
  readonly messageNumber: number
}

function training(setting: RoundSetting, { round, steps }: RoundWork): Traffic[] {
  const { config, isSplit, asksFirst, codecs } = setting
  const { local_steps, num_rounds, step_deadline_s, round_deadline_s } = config.federation
  const place = { round, attempt: 0 }
  const positions = num_rounds * (local_steps ?? steps.length)
  const start = (lengths: Lengths): MessageOf<'round-start'> => ({
    type: 'round-start',
    ...place,
    adapter: adapterOf(setting, lengths),
    // Before the first round there are none.
    moments: round === 1 ? null : momentsOf(setting, lengths),
    keep_from: config.federation.optimizer_state === 'keep' && round > 1 ? round - 1 : null,
    keep_since: config.federation.optimizer_state === 'keep' ? Math.max(1, round - 1) : null,
    steps: steps.length,
    position: (round - 1) * steps.length,
    positions,
    codecs: isSplit ? codecs : null,
    deadlines: { step_s: step_deadline_s, round_s: round_deadline_s },
    ask_first: asksFirst.training,
  })
  const end = (lengths: Lengths): MessageOf<'adapter'> => ({
    type: 'adapter',
    ...place,
    adapter: adapterOf(setting, lengths),
    moments: momentsOf(setting, lengths),
    steps: steps.length,
    seconds: { compute: A_NUMBER, wait: A_NUMBER, network: A_NUMBER },
    upload: uploadOf(steps, isSplit),
    round_trip_s: A_NUMBER,
  })
  return [
    counted(setting, 'server', start),
    ...steps.flatMap((micros, step) => {
      const tokens = micros.reduce((sum, { scored }) => sum + scored, 0)
      const isMade = tokens > 0
      const report = counted(setting, 'client', () => ({
        ...{ type: 'step' as const, ...place, step, lr: config.train.learning_rate },
        ...(isMade
          ? { outcome: 'updated' as const, nll: A_NUMBER, tokens, grad_norm: A_NUMBER }
          : { outcome: 'no-scored-tokens' as const, nll: null, tokens: 0, grad_norm: null }),
      }))
      if (!isSplit || !isMade) return [report]
      const exchanged = micros.flatMap((size, micro) => [
        ...(asksFirst.training ? offered(setting, size, { ...place, step, micro }, 'train') : []),
        activations(setting, size, { ...place, step, micro }, 'train', tokens),
        counted(setting, 'server', (lengths) => ({
          ...{ type: 'gradients' as const, ...place, step, micro, nll: A_NUMBER, tokens: size.scored },
          hidden: lengths.coded(codecs.gradients, size.tokens, setting.hiddenSize),
          rows: lengths.bytes(rowsBytes(setting, size, 'server')),
        })),
      ])
      return [...exchanged, report]
    }),
    counted(setting, 'client', end),
  ]
}

/** Counted in bytes, which are some hundreds of thousands for all but the smallest models. */
function uploadOf(steps: RoundWork['steps'], isSplit: boolean): MessageOf<'adapter'>['upload'] {
  const messages = isSplit ? steps.reduce((sum, micros) => sum + micros.length, 0) : 0
  return { messages, bytes: messages * 100_000, seconds: messages * A_NUMBER }
}

function evaluation(setting: RoundSetting, { round, evaluation: batches }: RoundWork): Traffic[] {
  if (batches === null) return []
  const place = { round, attempt: 0 }
  const sum = (key: keyof BatchSize): number => batches.reduce((total, size) => total + size[key], 0)
  const exchanged = batches.flatMap((size, step) => [
    ...(setting.asksFirst.evaluation ? offered(setting, size, { ...place, step, micro: 0 }, 'evaluate') : []),
    activations(setting, size, { ...place, step, micro: 0 }, 'evaluate', size.scored),
    counted(setting, 'server', () => ({ type: 'loss' as const, ...place, step, micro: 0, nll: A_NUMBER, tokens: size.scored })),
  ])
  return [
    counted(setting, 'server', (lengths) => ({
      ...{ type: 'evaluate' as const, ...place, max_batches: setting.config.eval.max_eval_batches },
      ask_first: setting.asksFirst.evaluation,
      adapter: adapterOf(setting, lengths),
      codecs: setting.isSplit ? setting.codecs : null,
    })),
    ...(setting.isSplit ? exchanged : []),
    counted(setting, 'client', () => ({
      ...{ type: 'evaluation' as const, ...place, nll: A_NUMBER, tokens: sum('scored') },
      ...{ bytes: 4 * sum('scored'), rows: sum('batch') },
    })),
  ]
}

function roundEnd(setting: RoundSetting, { round, evaluation: batches }: RoundWork): Traffic {
  const train_loss = round === 0 ? null : A_NUMBER
  return counted(setting, 'server', () => ({
    type: 'round-end',
    round,
    attempt: 0,
    train_loss,
    eval_loss: batches === null ? null : A_NUMBER,
  }))
}

interface Request {
  readonly round: number
  readonly attempt: number
  readonly step: number
  readonly micro: number
}

function offered(setting: RoundSetting, { tokens }: MicroBatch, request: Request, purpose: 'train' | 'evaluate'): Traffic[] {
  return [
    counted(setting, 'client', () => ({ type: 'offer' as const, ...request, purpose, tokens })),
    counted(setting, 'server', () => ({ type: 'grant' as const, ...request })),
  ]
}

function activations(
  setting: RoundSetting,
  size: MicroBatch,
  request: Request,
  purpose: 'train' | 'evaluate',
  normalizer: number,
): Traffic {
  const codec = setting.codecs.activations
  return counted(setting, 'client', (lengths) => ({
    type: 'activations',
    ...request,
    hop: 0,
    purpose,
    lengths: lengths.bytes(size.lengthsBytes),
    hidden: lengths.coded(purpose === 'train' ? codec : evaluationName(codec), size.tokens, setting.hiddenSize),
    rows: lengths.bytes(purpose === 'train' ? rowsBytes(setting, size, 'client') : 0),
    scored: lengths.bytes(size.maskBytes),
    targets: lengths.bytes(size.targetsBytes),
    // One without scored tokens is no message that a schema lets pass, and evaluation rows have some.
    normalizer: Math.max(1, normalizer),
  }))
}

/** Row numbers and ages (protocol/cut/rows.ts), most of which take two bytes; nothing where nobody remembers rows. */
function rowsBytes({ codecs, messageNumber }: RoundSetting, { batch }: BatchSize, from: 'client' | 'server'): number {
  const [activationRows, gradientRows] = [codecs.activations, codecs.gradients].map(rememberingEnds)
  if (from === 'server') return gradientRows === 'both' ? 2 * batch : 0
  if (activationRows !== 'both' && gradientRows === 'none') return 0
  return varintBytes(messageNumber) + 2 * batch * (1 + Number(activationRows === 'both') + Number(gradientRows === 'both'))
}

function adapterOf({ adapter }: WireSetting, lengths: Lengths): TensorMap {
  return Object.fromEntries(
    [...adapter].map(([name, shape]) => [
      name,
      { codec: 'fp32', shape: [...shape], bytes: lengths.bytes(F32_BYTES * shape[0] * shape[1]) },
    ]),
  )
}

/** What crosses the wire with an adapter: AdamW's two moments of it, where they are averaged. */
function momentsOf(setting: WireSetting, lengths: Lengths): CodedMoments | null {
  const { train, federation } = setting.config
  if (train.optim !== 'adamw' || federation.optimizer_state !== 'average') return null
  return { updates: 100, mean: adapterOf(setting, lengths), square: adapterOf(setting, lengths) }
}

function counted<Message extends Parameters<typeof messageTraffic>[0]>(
  { config, messageNumber }: RoundSetting,
  from: 'client' | 'server',
  make: (lengths: Lengths) => Message,
): Traffic {
  const lengths = new Lengths()
  return messageTraffic(make(lengths), from, lengths.all, config.transport.max_chunk_bytes, messageNumber)
}
