/**
 * @file Names of codecs: parts joined by +, in the order in which they pack, as in `delta+topk:share=0.1+int8+zstd`. A part's options follow it, each
 * behind a colon.
 */
import { z } from 'zod'

const integer = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number)
    .pipe(z.int().min(least).max(most))
const fraction = z
  .string()
  .regex(/^\d{0,3}\.?\d{1,9}$/)
  .transform(Number)

const Delta = z.strictObject({ name: z.literal('delta') })
const LowRank = z.strictObject({
  name: z.literal('lowrank'),
  /** Left away, it follows from LoRA's. */
  rank: integer(1, 1024).optional(),
})
const Reuse = z.strictObject({
  name: z.literal('reuse'),
  threshold: fraction.pipe(z.number().min(0).max(1)).default(0.98),
  control: z.enum(['on', 'off']).default('on'),
})
const Feedback = z.strictObject({ name: z.literal('feedback') })
const TopK = z.strictObject({
  name: z.literal('topk'),
  share: fraction.pipe(z.number().gt(0).max(1)).default(0.1),
  random: fraction.pipe(z.number().min(0).max(0.5)).default(0.1),
})
const Float = z.strictObject({ name: z.enum(['fp32', 'fp16']) })
const Integer = z.strictObject({
  name: z.enum(['int8', 'int7', 'int6', 'int5', 'int4', 'int3', 'int2']),
  /** Channels that share a scale; left away, all of a token do. */
  group: integer(1, 65536).optional(),
  /** Channels that are kept as fp16. */
  outliers: integer(0, 4096).default(0),
  rounding: z.enum(['stochastic', 'nearest']).default('stochastic'),
})
const Zstd = z.strictObject({ name: z.literal('zstd'), level: integer(1, 19).default(3) })

/** What a codec is made of: at most one part of each stage, and always one that says how numbers are packed. */
export interface CodecParts {
  /** What is remembered of rows; null: nothing. */
  readonly history: z.infer<typeof Delta> | z.infer<typeof LowRank> | z.infer<typeof Reuse> | z.infer<typeof Feedback> | null
  /** Which numbers are sent; null: all. */
  readonly choice: z.infer<typeof TopK> | null
  readonly numbers: z.infer<typeof Float> | z.infer<typeof Integer>
  /** What is done with the bytes; null: nothing. */
  readonly bytes: z.infer<typeof Zstd> | null
}
type Stage = keyof CodecParts

interface Kind {
  readonly stage: Stage
  readonly schema: z.ZodType
  /** Options, as a message tells them. */
  readonly options: string
}
const INTEGER: Kind = { stage: 'numbers', schema: Integer, options: 'group=1 to 65536, outliers=0 to 4096, rounding=stochastic or nearest' }
const FLOAT: Kind = { stage: 'numbers', schema: Float, options: 'no options' }

/** Every part by its name, in the order of stages. */
const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['delta', { stage: 'history', schema: Delta, options: 'no options' }],
  ['lowrank', { stage: 'history', schema: LowRank, options: 'rank=1 to 1024' }],
  ['reuse', { stage: 'history', schema: Reuse, options: 'threshold=0 to 1, control=on or off' }],
  ['feedback', { stage: 'history', schema: Feedback, options: 'no options' }],
  ['topk', { stage: 'choice', schema: TopK, options: 'share=0 to 1, random=0 to 0.5' }],
  ...Float.shape.name.options.map((name) => [name, FLOAT] as const),
  ...Integer.shape.name.options.map((name) => [name, INTEGER] as const),
  ['zstd', { stage: 'bytes', schema: Zstd, options: 'level=1 to 19' }],
])
/** Messages carry the name. */
export const MOST_NAME_CHARACTERS = 256
const STAGES: readonly Stage[] = ['history', 'choice', 'numbers', 'bytes']

/** All that parts can be called. */
export const PART_NAMES: readonly string[] = [...KINDS.keys()]

/** The parts that a name names, known or not. */
export function partNames(codec: string): string[] {
  return codec.split('+').map((text) => text.split(':')[0])
}

/** Which ends remember rows of tensors that are packed so. */
export function rememberingEnds(codec: string): 'none' | 'encoder' | 'both' {
  const read = readCodecName(codec)
  const history = 'parts' in read ? read.parts.history : null
  return history === null ? 'none' : history.name === 'feedback' ? 'encoder' : 'both'
}

export type CodecName = { readonly parts: CodecParts } | { readonly problem: string }

/**
 * How the activations of evaluations travel: exactly where those of training do, else as halves. A held-out loss is to tell of the adapter, which is
 * used without a wire later, and not of what a coarse codec did to this pass.
 */
export function evaluationName(codec: string): string {
  const rest = nameWithoutHistory(codec)
  return partNames(rest)[0] === 'fp32' ? rest : 'fp16'
}

/** The same without its memory, if it has any: how single messages are packed. */
export function nameWithoutHistory(codec: string): string {
  const [first, ...rest] = codec.split('+')
  return KINDS.get(first.split(':')[0])?.stage === 'history' ? rest.join('+') : codec
}

/** What a name asks for, or what keeps it from being a codec's. @param direction what it is to pack; left away, anything */
export function readCodecName(codec: string, direction?: 'activations' | 'gradients'): CodecName {
  if (codec.length > MOST_NAME_CHARACTERS)
    return { problem: `a codec's name has at most ${MOST_NAME_CHARACTERS} characters, and this has ${codec.length}` }
  const found: Partial<Record<Stage, unknown>> = {}
  let reached = -1
  for (const text of codec.split('+')) {
    const [name, ...options] = text.split(':')
    const kind = KINDS.get(name)
    if (!kind) return { problem: `there is no codec called "${name}"; there are ${PART_NAMES.join(', ')}, and what + joins` }
    const place = STAGES.indexOf(kind.stage)
    if (place <= reached) return { problem: `${name} cannot stand there: ${order()}` }
    reached = place
    const pairs = options.map((option) => option.split('='))
    const read = kind.schema.safeParse({ ...Object.fromEntries(pairs), name })
    const isWritten = pairs.every(([key, ...values]) => key !== 'name' && values.length === 1)
    if (!read.success || !isWritten || new Set(pairs.map(([key]) => key)).size < pairs.length)
      return { problem: `"${text}" is not written as ${name} is, with ${kind.options} behind colons` }
    found[kind.stage] = read.data
  }
  if (found.numbers === undefined) return { problem: `"${codec}" does not say how numbers are packed: ${order()}` }
  const parts = { history: null, choice: null, bytes: null, ...found } as CodecParts
  if (parts.history?.name === 'lowrank' && parts.choice)
    return { problem: 'lowrank and topk cannot be joined: factors have no numbers to spare' }
  if (parts.history?.name === 'reuse' && direction === 'gradients')
    return { problem: 'reuse is for activations: a gradient that resembles the last one is still a new step' }
  return { parts }
}

function order(): string {
  const named = (stage: Stage): string => PART_NAMES.filter((name) => KINDS.get(name)!.stage === stage).join(' or ')
  return `first ${named('history')} if at all, then ${named('choice')} if at all, then ${named('numbers')}, then ${named('bytes')} if at all`
}
