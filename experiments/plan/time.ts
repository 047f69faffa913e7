/**
 * @file How long a round takes, estimated: floating-point operations over a measured rate, and bytes over an assumed one. Pure.
 */
import type { Graph } from '../../shared/graph/data.js'
import type { Dim } from '../../shared/graph/dims.js'
import type { PerModule } from '../../shared/model/module-selection.js'
import type { BottomGraphs, TopGraphs } from '../../shared/model/stage-graphs.js'
import type { RoundWork } from './bytes.js'
import { evaluateFlops, productFlops, type BatchSize } from './flops.js'
import type { Traffic } from './wire.js'

/** Operations of a micro-batch, in training and in evaluation, on either side; see `productFlops`. */
export interface Compute {
  readonly client: { readonly training: readonly Dim[]; readonly evaluation: Dim }
  readonly server: { readonly training: readonly Dim[]; readonly evaluation: Dim }
}

/** In a round, of all clients together, and of the server. */
export interface RoundFlops {
  readonly clients: number
  readonly server: number
}

/** @param bottom null where clients hold the whole model, which is then the top from no cut. */
export function computeOf(bottom: BottomGraphs | null, top: TopGraphs, ranks: PerModule): Compute {
  const of = (graph: Graph): Dim => productFlops(graph, ranks)
  const upper = { training: [of(top.training)], evaluation: of(top.evaluation) }
  if (bottom === null) return { client: upper, server: { training: [], evaluation: 0 } }
  return { client: { training: [of(bottom.forward), of(bottom.backward)], evaluation: of(bottom.evaluation) }, server: upper }
}

/** One client's round, and the server's work for it, `factor` times. */
export function roundFlops(compute: Compute, { steps, evaluation }: RoundWork, factor: number): RoundFlops {
  const micros = steps.filter((step) => step.some(({ scored }) => scored > 0)).flat()
  const sum = (flops: Dim, sizes: readonly BatchSize[]): number => sizes.reduce((total, size) => total + evaluateFlops(flops, size), 0)
  const side = ({ training, evaluation: forward }: Compute['client']): number =>
    factor * (training.reduce<number>((total, flops) => total + sum(flops, micros), 0) + sum(forward, evaluation ?? []))
  return { clients: side(compute.client), server: side(compute.server) }
}

export interface TimeEstimate {
  /** All processes on this machine, which links do not hold up: all operations over the measured rate. */
  readonly together_seconds: number
  /**
   * The server and each client on a machine like this one: a client's operations, the server's for all clients one after another, and a client's bytes
   * over the bandwidth, none of them at the same time as another.
   */
  readonly apart_seconds: number
}

/** @param traffic of all clients in a round */
export function estimateRound(
  flops: RoundFlops,
  traffic: readonly Traffic[],
  { clients, flopsPerSecond, bitsPerSecond }: { readonly clients: number; readonly flopsPerSecond: number; readonly bitsPerSecond: number },
): TimeEstimate {
  const bytes = traffic.reduce((sum, { wire_bytes }) => sum + wire_bytes, 0)
  return {
    together_seconds: (flops.clients + flops.server) / flopsPerSecond,
    apart_seconds: (flops.clients / clients + flops.server) / flopsPerSecond + (8 * bytes) / clients / bitsPerSecond,
  }
}
