/**
 * @file One local step's gradients, in the two ways there are: through the server (split), or on the client alone.
 */
import type { BottomStage, TopStage } from '../shared/model/stage.js'
import type { CutCodecNames } from '../shared/protocol/codec/setting.js'
import type { ClientCut } from '../shared/protocol/cut/client-cut.js'
import { encodeMask } from '../shared/protocol/mask.js'
import { UserError } from '../shared/errors.js'
import type { Activations, Gradients, MessageOf } from '../shared/protocol/messages.js'
import { roundingStream } from '../shared/protocol/rounding.js'
import { encodeVarints } from '../shared/protocol/varints.js'
import { f32, type F32Tensor, type NamedTensors } from '../shared/tensor.js'
import type { Batch } from '../shared/train/batch.js'
import type { MaskKey } from '../shared/train/dropout.js'
import type { NamedCut } from './named-cut.js'

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
   * What comes next is packed with these codecs; where nothing crosses the cut there are none.
   * @throws UserError MESSAGE_INVALID
   */
  useCodecs(names: CutCodecNames | null): Promise<void>
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
  /**
   * @param meanwhile is called while it waits.
   * @returns the answer, or that the server wants the message again, whole.
   */
  gradients(message: Activations, meanwhile?: () => void): Promise<Gradients | MessageOf<'resync'>>
  loss(message: Activations): Promise<MessageOf<'loss'>>
}

/** A stopwatch that the trainer reads at a round's end. */
export interface Stopwatch {
  /** @param name of the work, as a trace shows it. */
  computing<T>(name: string, work: () => Promise<T>): Promise<T>
}

/** The bottom blocks here, the top at the server. */
export function splitWorker(bottom: BottomStage, exchange: Exchange, named: NamedCut, watch: Stopwatch): Worker {
  const message = (
    batch: Batch,
    packed: ReturnType<ClientCut['pack']>,
    purpose: Activations['purpose'],
    normalizer: number,
    place: Omit<MicroPlace, 'seed' | 'client'>,
  ): Activations => ({
    type: 'activations',
    round: place.round,
    attempt: place.attempt,
    step: place.step,
    micro: place.micro,
    hop: 0,
    purpose,
    lengths: encodeVarints(batch.lengths),
    ...packed,
    scored: encodeMask(batch.scoredMask),
    targets: encodeVarints(batch.targets.data),
    normalizer,
  })
  const gradients = async (
    batch: Batch,
    hidden: F32Tensor,
    normalizer: number,
    place: MicroPlace,
    cut: ClientCut,
    meanwhile?: () => void,
  ): Promise<Gradients> => {
    const rows = batch.rows ? { numbers: batch.rows, lengths: batch.lengths } : null
    const ask = (during?: () => void): ReturnType<Exchange['gradients']> => {
      const packed = cut.pack(hidden, rows, roundingStream(place, 'activations'))
      return exchange.gradients(message(batch, packed, 'train', normalizer, place), during)
    }
    let reply = await ask(meanwhile)
    if (reply.type === 'resync') {
      cut.forget()
      reply = await ask()
    }
    if (reply.type === 'resync') throw neverEnough()
    return reply
  }
  return {
    adapterNames: bottom.adapterNames,
    useCodecs: (names) => named.use(names),
    async train(batch, normalizer, adapter, place, meanwhile) {
      const cut = named.current
      const { hidden, pending } = await watch.computing('forward', () => bottom.forward(batch, adapter, place))
      let gradient: F32Tensor
      let nll: number
      try {
        const reply = await gradients(batch, hidden, normalizer, place, cut, meanwhile)
        gradient = f32(hidden.shape, cut.read(reply, hidden.shape))
        nll = reply.nll ?? NaN
        cut.heardLoss(place.round, nll, reply.tokens)
      } catch (error) {
        cut.forget()
        await bottom.discard(pending)
        throw error
      }
      return { nll, grads: await watch.computing('backward', () => bottom.backward(pending, gradient)) }
    },
    async evaluate(batch, adapter, place) {
      const hidden = await watch.computing('evaluate', () => bottom.evaluate(batch, adapter))
      const { nll } = await exchange.loss(
        message(batch, named.current.packEvaluation(hidden), 'evaluate', batch.targets.data.length, place),
      )
      return nll ?? NaN
    },
    dispose: () => bottom.dispose(),
  }
}

/** The whole model here. */
export function wholeWorker(whole: TopStage, watch: Stopwatch): Worker {
  return {
    adapterNames: whole.adapterNames,
    useCodecs: async () => {},
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

function neverEnough(): UserError {
  return new UserError({
    code: 'MESSAGE_INVALID',
    what: 'the server cannot use what this client sends',
    why: 'it asked again for activations that it has got whole',
    fix: 'make sure that both ends run the same version of cutlayer',
  })
}
