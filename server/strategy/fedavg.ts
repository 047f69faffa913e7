/**
 * @file FedAvg of adapters: A with A, B with B.
 */
import type { Random } from '../../shared/random.js'
import type { OptimizerState } from '../../shared/train/optimizer.js'
import { compareCodeUnits } from '../../shared/compare.js'
import { weightedMean } from './mean.js'
import type { AdapterReply, ClientId, Strategy } from './strategy.js'

export interface FedAvgOptions {
  readonly fractionTrain: number
  readonly fractionEvaluate: number
  readonly minTrain: number
}

/**
 * Mean of the clients' adapters, weighted by data. It averages A and B apart, which is not the average of the products B A.
 * A fraction selects floor(fraction * ready) clients, at least `minTrain` for training and one for evaluation unless the fraction is 0.
 * Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1.
 */
export function fedAvg({ fractionTrain, fractionEvaluate, minTrain }: FedAvgOptions): Strategy {
  return {
    name: 'fedavg',
    selectTrain: (ready, random) => sample(ready, Math.max(minTrain, Math.floor(fractionTrain * ready.length)), random),
    selectEvaluate: (ready, random) =>
      fractionEvaluate === 0 ? [] : sample(ready, Math.max(1, Math.floor(fractionEvaluate * ready.length)), random),
    aggregate: (_, { average }) => ({ adapter: average() }),
  }
}

function sample(ready: readonly ClientId[], count: number, random: Random): ClientId[] {
  const order = Array.from(random.permutation(ready.length))
  return order
    .slice(0, count)
    .map((i) => ready[i])
    .sort(compareCodeUnits)
}

/** Both moments averaged with the same weights; the number of updates is the largest. null if no reply has any. */
export function averagedMoments(replies: readonly Pick<AdapterReply, 'client' | 'weight' | 'moments'>[]): OptimizerState | null {
  const carried = replies.flatMap(({ client, weight, moments }) => (moments ? [{ client, weight, moments }] : []))
  if (carried.length === 0) return null
  const mean = (which: 'mean' | 'square') =>
    weightedMean(carried.map(({ client, weight, moments }) => ({ client, weight, tensors: moments[which] })))
  return { updates: Math.max(...carried.map(({ moments }) => moments.updates)), mean: mean('mean'), square: mean('square') }
}
