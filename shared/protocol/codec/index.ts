/**
 * @file The codecs by name.
 */
import type { CodedTensor } from '../messages.js'
import { invalid, type Codec, type CodecContext } from './codec.js'
import { fp16 } from './fp16.js'
import { fp32 } from './fp32.js'
import { compressedChanges, deltaCodec, reuseCodec, type ChangeCodec, type History } from './history.js'
import { integerCodec } from './integer.js'
import { lowrankCodec } from './lowrank.js'
import { evaluationName, nameWithoutHistory, readCodecName, type CodecParts } from './name.js'
import { outliersCodec } from './outliers.js'
import type { CutCodecNames } from './setting.js'
import { topkCodec } from './topk.js'
import { wireName } from './wire-name.js'
import { loadZstandard, zstandard, zstdCodec } from './zstd.js'

export type { Codec, CodecContext } from './codec.js'

/** A codec, and what the wire calls it. */
export interface NamedCodec {
  readonly name: string
  readonly codec: Codec
}

export const FP32: NamedCodec = { name: 'fp32', codec: fp32 }

/** How the cut tensors of one direction are packed: as `NamedCodec` says, without what is remembered of their rows. */
export interface CutCodec extends NamedCodec {
  readonly history: History | null
}

/** The codecs of a run's cut tensors. */
export interface CutCodecs {
  readonly activations: CutCodec
  readonly gradients: CutCodec
  /** Of activations that are only evaluated. */
  readonly evaluation: NamedCodec
}

/** @param loraRank of the run's adapters. @throws UserError MESSAGE_INVALID for a name that is no codec's */
export async function openCutCodecs(names: CutCodecNames, loraRank: number): Promise<CutCodecs> {
  // Ranks as SplitLite has them (arXiv 2608.23018): the change of activations has twice LoRA's, that of gradients more.
  const [activations, gradients, evaluation] = await Promise.all([
    openCutCodec(names.activations, 2 * loraRank),
    openCutCodec(names.gradients, 4 * loraRank),
    openCodec(evaluationName(names.activations)),
  ])
  return { activations, gradients, evaluation }
}

/** @param rank of `lowrank`, where the name leaves it away. @throws UserError MESSAGE_INVALID for a name that is no codec's */
export async function openCutCodec(name: string, rank: number): Promise<CutCodec> {
  const { history, ...parts } = partsOf(name)
  const plain = await openCodec(name)
  if (history === null) return { ...plain, history }
  if (history.name === 'feedback') return { ...plain, history: { kind: 'feedback', name } }
  const packed = changesCodec(history, rank, uncompressed({ history: null, ...parts }))
  const changes = parts.bytes === null ? packed : compressedChanges(zstandard(await loadZstandard(), parts.bytes.level), packed)
  const reuse = history.name === 'reuse' ? { threshold: history.threshold, control: history.control === 'on' } : null
  return { ...plain, history: { kind: 'changes', name, changes, reuse } }
}

function changesCodec(
  history: Exclude<CodecParts['history'], null | { readonly name: 'feedback' }>,
  rank: number,
  packed: Codec,
): ChangeCodec {
  switch (history.name) {
    case 'delta':
      return deltaCodec(packed)
    case 'reuse':
      return reuseCodec(packed)
    case 'lowrank':
      return lowrankCodec(history.rank ?? rank, packed)
  }
}

/** How single messages are packed: of a name that remembers rows, the rest. @throws UserError MESSAGE_INVALID for a name that is no codec's */
export async function openCodec(name: string): Promise<NamedCodec> {
  const parts = partsOf(name)
  const packed = uncompressed(parts)
  return {
    name: nameWithoutHistory(name),
    codec: parts.bytes === null ? packed : zstdCodec(await loadZstandard(), parts.bytes.level, packed),
  }
}

/** Bytes of a tensor packed with that codec, as if compression on top saved nothing, and nothing of it were remembered. @throws UserError MESSAGE_INVALID */
export function packedByteLength(name: string, shape: readonly number[]): number {
  return uncompressed(partsOf(name)).byteLength(shape)
}

function partsOf(name: string): CodecParts {
  const read = readCodecName(name)
  if ('problem' in read) throw invalid(read.problem)
  return read.parts
}

function uncompressed({ choice, numbers }: CodecParts): Codec {
  const packed = numbersCodec(numbers)
  return choice === null ? packed : topkCodec(choice, packed)
}

function numbersCodec(numbers: CodecParts['numbers']): Codec {
  switch (numbers.name) {
    case 'fp32':
      return fp32
    case 'fp16':
      return fp16
    default: {
      const { name, group = null, outliers, rounding } = numbers
      const integers = integerCodec({ bits: Number(name.slice('int'.length)), group, nearest: rounding === 'nearest' })
      return outliers === 0 ? integers : outliersCodec(outliers, integers)
    }
  }
}

export function encodeTensor(
  { name, codec }: NamedCodec,
  values: Float32Array,
  shape: readonly number[],
  context: CodecContext,
): CodedTensor {
  return { codec: wireName(name), shape: [...shape], bytes: codec.encode(values, shape, context) }
}

/**
 * @returns f32 of `expectedShape`, with its own memory
 * @throws UserError MESSAGE_INVALID if the codec's name, the shape or the bytes are not what is expected
 */
export function decodeTensor({ name, codec }: NamedCodec, coded: CodedTensor, expectedShape: readonly number[]): Float32Array {
  checkCoded(coded, name, expectedShape)
  return codec.decode(coded.bytes, expectedShape)
}

/** @throws UserError MESSAGE_INVALID unless the tensor says that it is of that codec and shape */
export function checkCoded(coded: CodedTensor, name: string, expectedShape: readonly number[]): void {
  if (coded.codec !== wireName(name)) throw invalid(`it is packed with "${coded.codec}", and "${name}" was agreed on`)
  if (coded.shape.length !== expectedShape.length || coded.shape.some((dim, axis) => dim !== expectedShape[axis])) {
    throw invalid(`its shape is [${coded.shape.join(', ')}], and [${expectedShape.join(', ')}] is expected`)
  }
}
