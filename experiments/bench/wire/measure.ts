/**
 * @file What a pair of codecs costs and what it loses: both ends of a cut, as a client and a server have them, on the visits of one batch.
 */
import { openCutCodecs } from '../../../shared/protocol/codec/index.js'
import { cutMemory } from '../../../shared/protocol/codec/row-memory.js'
import { ClientCut } from '../../../shared/protocol/cut/client-cut.js'
import { ServerCut } from '../../../shared/protocol/cut/server-cut.js'
import { encodeMask } from '../../../shared/protocol/mask.js'
import type { Activations, Gradients } from '../../../shared/protocol/messages.js'
import { roundingStream } from '../../../shared/protocol/rounding.js'
import { payloadBytes } from '../../../shared/protocol/traffic.js'
import { encodeVarints } from '../../../shared/protocol/varints.js'
import { f32 } from '../../../shared/tensor.js'
import { messageTraffic } from '../../plan/wire.js'
import { median } from '../figures.js'
import type { Visits } from './visits.js'

/** Visits before those that are timed: the first is told whole, and code is compiled. */
export const WARM_UP_VISITS = 3
const CACHE_BYTES = 2 ** 31
const CHUNK_BYTES = 2 ** 20
/** Targets are ids of some vocabulary; of most, nearly all take three bytes. */
const A_TARGET = 20_000

export interface CodecPair {
  readonly activations: string
  readonly gradients: string
}

/** Of one direction. */
export interface DirectionCost {
  /** Bytes of codes on the batch's first visit, and on a later one (median). */
  readonly firstBytes: number
  readonly laterBytes: number
  /** Of a later visit, median. Where an end remembers what it sent, that is in the time of who gets the answer. */
  readonly packMs: number
  readonly unpackMs: number
  /** Root of the mean square of what is lost, in that of the numbers; of the last visit. */
  readonly relativeError: number
  /** The most of a message beside its byte arrays. */
  readonly overheadBytes: number
}

export interface PairCost {
  readonly up: DirectionCost
  readonly down: DirectionCost
  /** Packing and unpacking in both directions, and remembering: median of a later visit. */
  readonly totalMs: number
}

/** @param rank LoRA's, for `lowrank`. @throws UserError MESSAGE_INVALID for a name that is no codec's */
export async function measurePair(pair: CodecPair, { lengths, width, visits }: Visits, rank: number): Promise<PairCost> {
  const codecs = await openCutCodecs(pair, rank)
  const [client, server] = [new ClientCut(codecs, cutMemory(CACHE_BYTES)), new ServerCut(codecs, cutMemory(CACHE_BYTES))]
  const shape = [visits[0].activations.length / width, width]
  const rows = { numbers: Array.from(lengths, (_, row) => row), lengths }
  const times: number[][] = []
  const [up, down] = [new Tally(), new Tally()]
  for (const [step, visit] of visits.entries()) {
    const place = { seed: 1, client: 'client-0', round: 1, step, micro: 0 }
    const [z, g] = [f32(shape, visit.activations), f32(shape, visit.gradients)]
    const draws = [roundingStream(place, 'activations'), roundingStream(place, 'gradients')]
    const start = performance.now()
    const packed = client.pack(z, rows, draws[0])
    const sent = performance.now()
    const asked = activationsOf(packed, lengths, step)
    const asking = performance.now()
    const read = server.read(asked, lengths, shape)!
    read.keep()
    const heard = performance.now()
    const answer: Gradients = {
      ...{ type: 'gradients', round: 1, attempt: 0, step, micro: 0, nll: 0.1, tokens: shape[0] },
      ...server.answer(g, read.rows, draws[1]),
    }
    const answered = performance.now()
    const got = client.read(answer, shape)
    const end = performance.now()
    times.push([sent - start, heard - asking, answered - heard, end - answered])
    up.add(packed.hidden.bytes.length, visit.activations, read.values, overhead(asked, 'client'))
    down.add(answer.hidden.bytes.length, visit.gradients, got, overhead(answer, 'server'))
  }
  const later = times.slice(WARM_UP_VISITS)
  const middle = (call: number): number => median(later.map((all) => all[call]))
  return {
    up: { ...up.result(), packMs: middle(0), unpackMs: middle(1) },
    down: { ...down.result(), packMs: middle(2), unpackMs: middle(3) },
    totalMs: median(later.map((all) => all.reduce((sum, ms) => sum + ms, 0))),
  }
}

class Tally {
  private readonly bytes: number[] = []
  private relativeError = 0
  private overheadBytes = 0

  add(bytes: number, given: Float32Array, got: Float32Array, overheadBytes: number): void {
    this.bytes.push(bytes)
    this.overheadBytes = Math.max(this.overheadBytes, overheadBytes)
    let [lost, whole] = [0, 0]
    for (let index = 0; index < given.length; index++) {
      lost += (given[index] - got[index]) ** 2
      whole += given[index] ** 2
    }
    this.relativeError = whole === 0 ? 0 : Math.sqrt(lost / whole)
  }

  result(): Pick<DirectionCost, 'firstBytes' | 'laterBytes' | 'relativeError' | 'overheadBytes'> {
    const { bytes, relativeError, overheadBytes } = this
    return { firstBytes: bytes[0], laterBytes: median(bytes.slice(WARM_UP_VISITS)), relativeError, overheadBytes }
  }
}

function activationsOf(packed: Pick<Activations, 'hidden' | 'rows'>, lengths: Int32Array, step: number): Activations {
  const tokens = lengths.reduce((sum, length) => sum + length, 0)
  return {
    ...{ type: 'activations', round: 1, attempt: 0, step, micro: 0, hop: 0, purpose: 'train', normalizer: tokens },
    lengths: encodeVarints(lengths),
    ...packed,
    scored: encodeMask(new Uint8Array(tokens).fill(1)),
    targets: encodeVarints(new Int32Array(tokens).fill(A_TARGET)),
  }
}

/** What a message takes on the wire beside its byte arrays: its other fields, chunks, WebSocket frames and acks. */
function overhead(message: Activations | Gradients, from: 'client' | 'server'): number {
  return messageTraffic(message, from, [], CHUNK_BYTES, message.step + 1).wire_bytes - payloadBytes(message)
}
