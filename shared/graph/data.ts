/**
 * @file A graph as plain data: values with dtype and shape, and nodes that are only ever appended.
 *
 * Nothing here computes. `graph.ts` builds graphs, backends run them, and passes (grad, cut, partition) make new ones.
 */
import type { Dim } from './dims.js'

export type DType = 'f32' | 'i32'

export interface Spec {
  readonly dtype: DType
  readonly shape: readonly Dim[]
}

export type ValueId = number

export type Source =
  /** Given anew to every run. */
  | { readonly kind: 'input'; readonly name: string }
  /** Frozen, bound to a checkpoint name and served by the WeightStore. */
  | { readonly kind: 'weight'; readonly name: string }
  /** A literal, row-major; its shape has no symbols. */
  | { readonly kind: 'constant'; readonly data: readonly number[] }
  | { readonly kind: 'node'; readonly node: number; readonly output: number }

export interface ValueRecord extends Spec {
  readonly source: Source
}

export type Attribute = number | boolean | string | readonly Dim[]
export type Attributes = Readonly<Record<string, Attribute>>

export interface NodeRecord {
  readonly op: string
  /** In the order the op declares them; null where an optional input is absent. */
  readonly inputs: readonly (ValueId | null)[]
  readonly attributes: Attributes
  readonly outputs: readonly ValueId[]
}

export interface Graph {
  readonly values: readonly ValueRecord[]
  readonly nodes: readonly NodeRecord[]
  /** What a program returns, by name. */
  readonly outputs: ReadonlyMap<string, ValueId>
  /** Values with a meaning to passes, as `hidden.2`: the residual stream that enters block 2. */
  readonly marks: ReadonlyMap<string, ValueId>
}

/** Names and specs of what a run must be given, in order of appearance. */
export function graphInputs(graph: Graph): Map<string, Spec> {
  return specsOf(graph, 'input')
}

/** Names and specs of the frozen weights. */
export function graphWeights(graph: Graph): Map<string, Spec> {
  return specsOf(graph, 'weight')
}

function specsOf(graph: Graph, kind: 'input' | 'weight'): Map<string, Spec> {
  const found = new Map<string, Spec>()
  for (const { source, dtype, shape } of graph.values) if (source.kind === kind) found.set(source.name, { dtype, shape })
  return found
}
