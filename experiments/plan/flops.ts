/**
 * @file Floating-point operations of a graph's matrix products, as a function of the batch.
 */
import type { Graph, NodeRecord } from '../../shared/graph/data.js'
import { dimProduct, dimSum, evaluateDim, type Bindings, type Dim } from '../../shared/graph/dims.js'
import { unreachable } from '../../shared/errors.js'
import { ofModule, type PerModule } from '../../shared/model/module-selection.js'

/** Of one micro-batch, as graphs name its dimensions. */
export interface BatchSize {
  readonly batch: number
  /** Slots of a row: the longest row's tokens. */
  readonly longest: number
  /** Of all rows, without padding. */
  readonly tokens: number
  /** Positions that predict a scored token. */
  readonly scored: number
}

/**
 * Operations of all products in a graph, a multiplication and an addition each: 2 m k n of a gemm [m, k] [k, n]; the same for each leading index of a
 * matmul; 2 n d V of the head, for n scored positions, width d and vocabulary V. What else there is (norms, softmax, activations) moves memory more
 * than it computes, and is left out.
 *
 * @param ranks of LoRA terms.
 * @returns a polynomial of `batch`, `longest`, `tokens` and `scored`, for `evaluateFlops`.
 */
export function productFlops(graph: Graph, ranks: PerModule): Dim {
  return dimSum(graph.nodes.map((node) => nodeFlops(graph, node, ranks)))
}

export function evaluateFlops(flops: Dim, size: BatchSize): number {
  return evaluateDim(flops, bindingsOf(size))
}

export function bindingsOf({ batch, longest, tokens, scored }: BatchSize): Bindings {
  return new Map(Object.entries({ batch, longest, tokens, scored }))
}

/** A dimension of this beginning is the rank of the module whose path follows (shared/model/lora.ts). */
const RANK = 'rank.'

/** A shape with the ranks of LoRA terms filled in. */
export function withRanks(shape: readonly Dim[], ranks: PerModule): Dim[] {
  return shape.map((dim) => (typeof dim === 'string' && dim.startsWith(RANK) ? ofModule(ranks, dim.slice(RANK.length)) : dim))
}

function nodeFlops(graph: Graph, { op, inputs, outputs, attributes }: NodeRecord, ranks: PerModule): Dim {
  const shapeOf = (position: number): Dim[] => {
    const id = inputs[position] ?? unreachable(`${op} without its input ${position}`)
    return withRanks(graph.values[id].shape, ranks)
  }
  switch (op) {
    case 'gemm':
    case 'matmul': {
      // The result's shape, and the axis that is summed over.
      const left = shapeOf(0)
      const inner = left.at(attributes.transposeA === true ? -2 : -1) ?? unreachable('a product of no matrix')
      return dimProduct([2, ...withRanks(graph.values[outputs[0]].shape, ranks), inner])
    }
    case 'cross_entropy_head':
      return dimProduct([2, ...shapeOf(0), shapeOf(1)[0]])
    default:
      return 0
  }
}
