/**
 * @file Checks what a client sent against what the run knows, and makes tensors of it. Nothing is trusted before.
 */
import type { Architecture } from '../shared/model/families/family.js'
import type { TopBatch } from '../shared/model/stage.js'
import { decodeTensors, totalOf } from '../shared/protocol/coded.js'
import type { CutRead, ServerCut } from '../shared/protocol/cut/server-cut.js'
import { decodeMask } from '../shared/protocol/mask.js'
import type { Activations, CodedMoments, TensorMap } from '../shared/protocol/messages.js'
import { countVarints, decodeVarints } from '../shared/protocol/varints.js'
import { f32, i32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import { layoutOf, scoredPositions } from '../shared/train/batch.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { allFinite, invalid, notFinite } from './invalid.js'

export interface BatchRules {
  readonly architecture: Architecture
  readonly maxRows: number
  /** The server's end of the cut with who sent it. */
  readonly cut: ServerCut
}

export interface ReadBatch {
  readonly batch: TopBatch
  readonly read: CutRead
}

/**
 * A micro-batch may be without scored tokens where its local step has some: `targets` is then empty, and the top has nothing to compute.
 * @returns null if it is told against rows that are not held: it is to be asked for again, whole. Either way nothing is remembered of it yet.
 * @throws UserError MESSAGE_INVALID naming what does not fit.
 */
export function readActivations(message: Activations, { architecture, maxRows, cut }: BatchRules): ReadBatch | null {
  const rows = countVarints(message.lengths)
  if (rows === 0) throw invalid('a batch without rows')
  if (rows > maxRows) throw invalid(`a batch of ${rows} rows, of at most ${maxRows}`)
  const lengths = decodeVarints(message.lengths)
  const longest = lengths.reduce((a, b) => Math.max(a, b))
  if (longest > architecture.maxPositions) throw invalid(`a row of ${longest} tokens, of at most ${architecture.maxPositions}`)
  const tokens = totalOf(lengths)
  const shape = [tokens, architecture.hiddenSize]
  const read = cut.read(message, lengths, shape)
  if (!read) return null
  const hidden = read.values
  // The joint top takes the mean over clients: one NaN would make it useless for all of them.
  if (!allFinite(hidden)) throw notFinite('activations that are not finite numbers')
  const scored = scoredPositions(decodeMask(message.scored, tokens))
  const targets = decodeVarints(message.targets, scored.data.length)
  if (targets.some((id) => id >= architecture.vocabularySize)) throw invalid('a target that is not in the vocabulary')
  if (message.purpose === 'train' && message.normalizer < targets.length)
    throw invalid(`a normalizer of ${message.normalizer} for ${targets.length} scored tokens`)
  const batch = { lengths, ...layoutOf(lengths), hidden: f32(shape, hidden), scored, targets: i32([targets.length], targets) }
  return { batch, read }
}

/**
 * @param like the adapter that the client was given: same names, same shapes.
 * @throws UserError MESSAGE_INVALID, also for a value that is not finite, which would make the mean useless for all.
 */
export function readAdapter(coded: TensorMap, like: NamedTensors): Map<string, F32Tensor> {
  for (const [name, { shape }] of like) {
    if (!Object.hasOwn(coded, name)) throw invalid(`an adapter without ${name}`)
    const given = coded[name]
    if (given.shape.join() !== shape.join()) throw invalid(`${name} of shape [${given.shape.join(', ')}], and not [${shape.join(', ')}]`)
  }
  for (const name of Object.keys(coded)) if (!like.has(name)) throw invalid(`an adapter with ${name}, which is not the client's`)
  const tensors = decodeTensors(coded)
  for (const [name, { data }] of tensors) if (!allFinite(data)) throw notFinite(`${name} with values that are not finite numbers`)
  // In the order of the adapter it was given, whatever the message's.
  return new Map([...like.keys()].map((name) => [name, tensors.get(name)!]))
}

/**
 * Moments of a client that has made no update yet, whose steps were all dropped or had nothing to score, are zeros, which it need not send.
 *
 * @param mostUpdates that a client can have made by now.
 * @throws UserError MESSAGE_INVALID
 */
export function readMoments({ updates, mean, square }: CodedMoments, like: NamedTensors, mostUpdates: number): OptimizerState {
  if (updates > mostUpdates) throw invalid(`moments of ${updates} updates, of at most ${mostUpdates}`)
  const isEmpty = Object.keys(mean).length === 0 && Object.keys(square).length === 0
  if (updates === 0 && isEmpty) return { updates, mean: zerosLike(like), square: zerosLike(like) }
  const squares = readAdapter(square, like)
  for (const [name, { data }] of squares) if (data.some((value) => value < 0)) throw invalid(`a negative second moment of ${name}`)
  return { updates, mean: readAdapter(mean, like), square: squares }
}

function zerosLike(tensors: NamedTensors): Map<string, F32Tensor> {
  return new Map([...tensors].map(([name, { shape, data }]) => [name, f32(shape, new Float32Array(data.length))]))
}
