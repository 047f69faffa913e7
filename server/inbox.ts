/**
 * @file Checks what a client sent against what the run knows, and makes tensors of it. Nothing is trusted before.
 */
import { UserError } from '../shared/errors.js'
import type { Architecture } from '../shared/model/families/family.js'
import type { TopBatch } from '../shared/model/stage.js'
import { codecByName } from '../shared/protocol/codec/index.js'
import { bytesToI32, bytesToMask, decodeTensors, totalOf } from '../shared/protocol/coded.js'
import type { Activations, CodedMoments, MessageOf, TensorMap } from '../shared/protocol/messages.js'
import { f32, i32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import { layoutOf, scoredPositions } from '../shared/train/batch.js'
import type { OptimizerState } from '../shared/train/optimizer.js'

export interface BatchRules {
  readonly architecture: Architecture
  readonly maxRows: number
  readonly codec: string
}

/** @throws UserError MESSAGE_INVALID naming what does not fit. */
export function readActivations(message: Activations, { architecture, maxRows, codec }: BatchRules): TopBatch {
  const lengths = bytesToI32(message.lengths)
  const tokens = totalOf(lengths)
  const longest = lengths.reduce((a, b) => Math.max(a, b), 0)
  if (lengths.length === 0 || lengths.length > maxRows) throw invalid(`a batch of ${lengths.length} rows, of at most ${maxRows}`)
  if (longest > architecture.maxPositions) throw invalid(`a row of ${longest} tokens, of at most ${architecture.maxPositions}`)
  const shape = [tokens, architecture.hiddenSize]
  const hidden = codecByName(codec).decode(message.hidden, shape)
  const scored = scoredPositions(bytesToMask(message.scored, tokens))
  const targets = bytesToI32(message.targets, scored.data.length)
  if (targets.length === 0) throw invalid('a batch without scored tokens')
  if (targets.some((id) => id < 0 || id >= architecture.vocabularySize)) throw invalid('a target that is not in the vocabulary')
  if (message.purpose === 'train' && message.normalizer < targets.length)
    throw invalid(`a normalizer of ${message.normalizer} for ${targets.length} scored tokens`)
  return { lengths, ...layoutOf(lengths), hidden: f32(shape, hidden), scored, targets: i32([targets.length], targets) }
}

/** @param like the adapter that the client was given: same names, same shapes. @throws UserError MESSAGE_INVALID */
export function readAdapter(coded: TensorMap, like: NamedTensors): Map<string, F32Tensor> {
  const tensors = decodeTensors(coded)
  for (const [name, { shape }] of like) {
    const given = tensors.get(name)
    if (!given) throw invalid(`an adapter without ${name}`)
    if (given.shape.join() !== shape.join()) throw invalid(`${name} of shape [${given.shape.join(', ')}], and not [${shape.join(', ')}]`)
  }
  for (const name of tensors.keys()) if (!like.has(name)) throw invalid(`an adapter with ${name}, which is not the client's`)
  // In the order of the adapter it was given, whatever the message's.
  return new Map([...like.keys()].map((name) => [name, tensors.get(name)!]))
}

/** @throws UserError MESSAGE_INVALID */
export function readMoments({ updates, mean, square }: CodedMoments, like: NamedTensors): OptimizerState {
  return { updates, mean: readAdapter(mean, like), square: readAdapter(square, like) }
}

export type AdapterMessage = MessageOf<'adapter'>

export function invalid(what: string): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'a client sent what the run cannot use',
    why: `it sent ${what}`,
    fix: 'make sure that both ends run the same version of cutlayer and read the same run config',
  })
}
