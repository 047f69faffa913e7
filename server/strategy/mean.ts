/**
 * @file Weighted means of tensors by name: of adapters, of moments, of gradients.
 */
import { UserError } from '../../shared/errors.js'
import { f32, type F32Tensor, type NamedTensors } from '../../shared/tensor.js'

export interface Weighted {
  readonly client: string
  /** Any positive scale; only proportions count. */
  readonly weight: number
  readonly tensors: NamedTensors
}

/**
 * sum_k w_k x_k / sum_k w_k for each name, over the items that carry it. Sums are float64 in the order given, so the result depends on that
 * order alone.
 *
 * @throws UserError NO_REPLIES for no items, RANK_MISMATCH if shapes of one name differ.
 * Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1.
 */
export function weightedMean(items: readonly Weighted[]): Map<string, F32Tensor> {
  if (items.length === 0)
    throw new UserError({
      code: 'NO_REPLIES',
      what: 'there is nothing to average',
      why: 'no client sent an adapter',
      fix: "see the clients' logs for why they left",
    })
  const names = new Set(items.flatMap(({ tensors }) => [...tensors.keys()]))
  return new Map(
    [...names].map((name) => [
      name,
      meanOf(
        name,
        items.filter(({ tensors }) => tensors.has(name)),
      ),
    ]),
  )
}

function meanOf(name: string, items: readonly Weighted[]): F32Tensor {
  const { shape } = items[0].tensors.get(name)!
  const total = items.reduce((sum, { weight }) => sum + weight, 0)
  const sums = new Float64Array(items[0].tensors.get(name)!.data.length)
  for (const { client, weight, tensors } of items) {
    const tensor = tensors.get(name)!
    if (tensor.shape.join() !== shape.join())
      throw new UserError({
        code: 'RANK_MISMATCH',
        what: `client ${client} sent an adapter that cannot be averaged with the others`,
        why: `${name} is [${tensor.shape.join(', ')}], and that of ${items[0].client} is [${shape.join(', ')}]`,
        fix: 'restart that client so that it reads the current run config',
      })
    const share = weight / total
    for (let i = 0; i < sums.length; i++) sums[i] += share * tensor.data[i]
  }
  return f32(shape, Float32Array.from(sums))
}
