/**
 * @file One local step's gradients, in the two ways there are: through the server (split), or on the client alone.
 */
import type { BottomStage, TopStage } from '../shared/model/stage.js'
import { decodeTensor, encodeTensor, type CutCodecs } from '../shared/protocol/codec/index.js'
import { encodeMask } from '../shared/protocol/mask.js'
import type { Activations, Gradients, MessageOf } from '../shared/protocol/messages.js'
import { roundingStream } from '../shared/protocol/rounding.js'
import { encodeVarints } from '../shared/protocol/varints.js'
import type { Random } from '../shared/random.js'
import { f32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import type { Batch } from '../shared/train/batch.js'
import type { MaskKey } from '../shared/train/dropout.js'

/** Where in the run a micro-batch stands; `attempt` counts restarts of its round. */
export interface MicroPlace extends MaskKey {
  readonly attempt: number
}

export interface MicroResult {
  /** Summed plain nll of the scored tokens, nats. */
  readonly nll: number
  readonly grads: ReadonlyMap<string, F32Tensor>
}

/** What a client can do with its blocks. */
export interface Worker {
  readonly adapterNames: readonly string[]
  /**
   * Forward, loss and backward of one micro-batch.
   * @param meanwhile is called while the server works on it, where there is one.
   */
  train(batch: Batch, normalizer: number, adapter: NamedTensors, place: MicroPlace, meanwhile?: () => void): Promise<MicroResult>
  /** Summed plain nll of a held-out batch. */
  evaluate(batch: Batch, adapter: NamedTensors, place: Omit<MicroPlace, 'seed' | 'client'>): Promise<number>
  dispose(): Promise<void>
}

/** The way to the server: sends activations, and resolves with what it answers. */
export interface Exchange {
  /** @param meanwhile is called while it waits. */
  gradients(message: Activations, meanwhile?: () => void): Promise<Gradients>
  loss(message: Activations): Promise<MessageOf<'loss'>>
}

/** A stopwatch that the trainer reads at a round's end. */
export interface Stopwatch {
  /** @param name of the work, as a trace shows it. */
  computing<T>(name: string, work: () => Promise<T>): Promise<T>
}

/** The bottom blocks here, the top at the server. */
export function splitWorker(bottom: BottomStage, exchange: Exchange, codecs: CutCodecs, watch: Stopwatch): Worker {
  const message = (
    batch: Batch,
    hidden: F32Tensor,
    purpose: Activations['purpose'],
    normalizer: number,
    place: Omit<MicroPlace, 'seed' | 'client'>,
    random: Random | null,
  ): Activations => ({
    type: 'activations',
    round: place.round,
    attempt: place.attempt,
    step: place.step,
    micro: place.micro,
    hop: 0,
    purpose,
    lengths: encodeVarints(batch.lengths),
    hidden: encodeTensor(codecs.activations, hidden.data, hidden.shape, { purpose: 'activations', random }),
    scored: encodeMask(batch.scoredMask),
    targets: encodeVarints(batch.targets.data),
    normalizer,
  })
  return {
    adapterNames: bottom.adapterNames,
    async train(batch, normalizer, adapter, place, meanwhile) {
      const { hidden, pending } = await watch.computing('forward', () => bottom.forward(batch, adapter, place))
      let gradient: F32Tensor
      let nll: number
      try {
        const reply = await exchange.gradients(
          message(batch, hidden, 'train', normalizer, place, roundingStream(place, 'activations')),
          meanwhile,
        )
        gradient = f32(hidden.shape, decodeTensor(codecs.gradients, reply.hidden, hidden.shape))
        nll = reply.nll ?? NaN
      } catch (error) {
        await bottom.discard(pending)
        throw error
      }
      return { nll, grads: await watch.computing('backward', () => bottom.backward(pending, gradient)) }
    },
    async evaluate(batch, adapter, place) {
      const hidden = await watch.computing('evaluate', () => bottom.evaluate(batch, adapter))
      const { nll } = await exchange.loss(message(batch, hidden, 'evaluate', batch.targets.data.length, place, null))
      return nll ?? NaN
    },
    dispose: () => bottom.dispose(),
  }
}

/** The whole model here. */
export function wholeWorker(whole: TopStage, watch: Stopwatch): Worker {
  return {
    adapterNames: whole.adapterNames,
    async train(batch, normalizer, adapter, place) {
      // Nothing to predict in this part of the step: the loss would be of no positions at all.
      if (batch.targets.data.length === 0) return { nll: 0, grads: new Map() }
      const { nll, grads } = await watch.computing('train', () => whole.train(batch, normalizer, adapter, place))
      return { nll, grads }
    },
    evaluate: (batch, adapter) => watch.computing('evaluate', () => whole.evaluate(batch, adapter)),
    dispose: () => whole.dispose(),
  }
}
