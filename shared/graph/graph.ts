/**
 * @file Building graphs: `GraphBuilder` appends nodes, `Value` is a fluent handle on one result, and `defineOp` is what each
 * file in `ops/` fills in.
 *
 * Ops call each other only through `Value`, so that op files need not import one another.
 */
import { unreachable } from '../errors.js'
import type { Attributes, DType, Graph, NodeRecord, Source, Spec, ValueId, ValueRecord } from './data.js'
import { sameShape, type Dim } from './dims.js'
import type { NdArray } from './ndarray.js'

/**
 * How dear an op is to compute again rather than to keep for the backward pass: a `view` moves no number, a `cheap` op makes
 * one pass over its operands, a `heavy` one multiplies matrices or would read more than it writes.
 */
export type Cost = 'view' | 'cheap' | 'heavy'

type Named<Names extends string, Optional extends string, T> = { readonly [K in Names]: T } & { readonly [K in Optional]?: T | undefined }

/** Everything about one op. `reference` is the exact kernel in float64 that all other backends are tested against. */
export interface OpDefinition<Names extends string = string, Optional extends string = never, A extends Attributes = Attributes> {
  readonly name: string
  readonly inputs: readonly Names[]
  readonly optional?: readonly Optional[]
  readonly cost: Cost
  /** Shape rule: dtype and shape of each output. */
  infer(inputs: Named<Names, Optional, Spec>, attributes: A): Spec | readonly Spec[]
  /**
   * Gradient of each input, given `grad`, that of the first output (`grads`: of all; null where nothing depends on it). `out` and
   * `outs` are the op's own results. null: the input has no gradient (indices).
   */
  vjp(
    values: Named<Names, Optional, Value> & {
      readonly grad: Value
      readonly grads: readonly (Value | null)[]
      readonly out: Value
      readonly outs: readonly Value[]
    },
    attributes: A,
  ): { readonly [K in Names]: Value | null } & { readonly [K in Optional]?: Value | null | undefined }
  /** `shapes` are those of the outputs in this run. */
  reference(inputs: Named<Names, Optional, NdArray>, attributes: A, shapes: readonly (readonly number[])[]): NdArray | readonly NdArray[]
}

/** Checks an op's definition against its own input names; the result is its entry in the op table. */
export function defineOp<const Names extends string, const Optional extends string = never, A extends Attributes = Attributes>(
  definition: OpDefinition<Names, Optional, A>,
): OpDefinition<Names, Optional, A> {
  return definition
}

/** Ops by name; their input names differ, so the table's type cannot say more. */
export type OpTable = Readonly<Record<string, { readonly name: string }>>

/** An op called with inputs by position. The table's names and the builder's calls meet here, checked at run time. */
export interface UntypedOp {
  readonly name: string
  readonly inputs: readonly string[]
  readonly optional: readonly string[]
  readonly cost: Cost
  infer(inputs: Record<string, Spec>, attributes: Attributes): Spec | readonly Spec[]
  vjp(values: Record<string, unknown>, attributes: Attributes): Record<string, Value | null | undefined>
  reference(inputs: Record<string, NdArray>, attributes: Attributes, shapes: readonly (readonly number[])[]): NdArray | readonly NdArray[]
}

export function findOp(ops: OpTable, name: string): UntypedOp {
  const op = Object.hasOwn(ops, name) ? ops[name] : undefined
  if (!op) return unreachable(`no op called ${name}`)
  return { optional: [], ...op } as unknown as UntypedOp
}

/** Pairs input names with whatever stands at their positions; absent optional inputs are left out. */
export function byName<T>(op: UntypedOp, items: readonly (T | null)[]): Record<string, T> {
  const named: Record<string, T> = {}
  ;[...op.inputs, ...op.optional].forEach((name, position) => {
    const item = items[position]
    if (item !== null && item !== undefined) named[name] = item
    else if (position < op.inputs.length) unreachable(`op ${op.name} lacks its input ${name}`)
  })
  return named
}

export class GraphBuilder {
  readonly values: ValueRecord[] = []
  readonly nodes: NodeRecord[] = []
  readonly outputs = new Map<string, ValueId>()
  readonly marks = new Map<string, ValueId>()
  /** Equal nodes are built once, so that gradients may ask again for what the forward pass computed. */
  private readonly known = new Map<string, readonly ValueId[]>()

  constructor(readonly ops: OpTable) {}

  input(name: string, dtype: DType, shape: readonly Dim[]): Value {
    return this.source({ kind: 'input', name }, { dtype, shape })
  }

  weight(name: string, shape: readonly Dim[]): Value {
    return this.source({ kind: 'weight', name }, { dtype: 'f32', shape })
  }

  /** An f32 literal; a number makes a scalar, shape []. */
  constant(data: number | readonly number[], shape: readonly number[] = []): Value {
    return this.source({ kind: 'constant', data: typeof data === 'number' ? [data] : data }, { dtype: 'f32', shape })
  }

  /** Appends a node and returns its outputs. */
  apply(name: string, inputs: readonly (Value | null | undefined)[], attributes: Attributes = {}): Value[] {
    const op = findOp(this.ops, name)
    const names = [...op.inputs, ...op.optional]
    if (inputs.length > names.length) unreachable(`${name} takes ${names.length} inputs, not ${inputs.length}`)
    if (inputs.some((value) => value && value.builder !== this)) unreachable(`${name} was given a value of another graph`)
    const ids = names.map((_, position) => inputs[position]?.id ?? null)
    const key = JSON.stringify([name, ids, attributes])
    const built = this.known.get(key)
    if (built) return built.map((id) => new Value(this, id))
    const specs = [
      op.infer(
        byName(
          op,
          ids.map((id) => (id === null ? null : this.values[id])),
        ),
        attributes,
      ),
    ].flat() as Spec[]
    const node = this.nodes.length
    const outputs = specs.map(({ dtype, shape }, output) => this.values.push({ dtype, shape, source: { kind: 'node', node, output } }) - 1)
    this.nodes.push({ op: name, inputs: ids, attributes, outputs })
    this.known.set(key, outputs)
    return outputs.map((id) => new Value(this, id))
  }

  value(id: ValueId): Value {
    if (!this.values[id]) unreachable(`no value ${id}`)
    return new Value(this, id)
  }

  output(name: string, value: Value): void {
    this.outputs.set(name, value.id)
  }

  mark(name: string, value: Value): void {
    this.marks.set(name, value.id)
  }

  finish(): Graph {
    return { values: [...this.values], nodes: [...this.nodes], outputs: new Map(this.outputs), marks: new Map(this.marks) }
  }

  private source(source: Source, spec: Spec): Value {
    // As text, because JSON writes -0 as 0, and NaN and the infinities all as null.
    const literal = source.kind === 'constant' ? source.data.map((v) => (Object.is(v, -0) ? '-0' : `${v}`)) : source
    const key = JSON.stringify([literal, spec.dtype, spec.shape])
    const known = this.known.get(key)
    if (known) return new Value(this, known[0])
    const id = this.values.push({ ...spec, source }) - 1
    this.known.set(key, [id])
    return new Value(this, id)
  }
}

type Operand = Value | number

/** One result in a builder's graph. Methods append nodes; each is described where its op is defined. */
export class Value {
  constructor(
    readonly builder: GraphBuilder,
    readonly id: ValueId,
  ) {}

  get spec(): Spec {
    return this.builder.values[this.id]
  }
  get shape(): readonly Dim[] {
    return this.spec.shape
  }
  get dtype(): DType {
    return this.spec.dtype
  }

  private one(name: string, others: readonly (Operand | undefined)[] = [], attributes: Attributes = {}): Value {
    return this.many(name, others, attributes)[0]
  }
  private many(name: string, others: readonly (Operand | undefined)[] = [], attributes: Attributes = {}): Value[] {
    const operands = others.map((other) => (typeof other === 'number' ? this.builder.constant(other) : other))
    return this.builder.apply(name, [this, ...operands], attributes)
  }

  add(other: Operand): Value {
    return this.one('add', [other])
  }
  sub(other: Operand): Value {
    return this.one('sub', [other])
  }
  mul(other: Operand): Value {
    return this.one('mul', [other])
  }
  div(other: Operand): Value {
    return this.one('div', [other])
  }
  neg(): Value {
    return this.one('neg')
  }
  square(): Value {
    return this.mul(this)
  }
  sqrt(): Value {
    return this.one('sqrt')
  }
  exp(): Value {
    return this.one('exp')
  }
  log(): Value {
    return this.one('log')
  }
  tanh(): Value {
    return this.one('tanh')
  }
  erf(): Value {
    return this.one('erf')
  }
  relu(): Value {
    return this.one('relu')
  }
  /** 1 where x > 0, else 0. */
  positive(): Value {
    return this.one('positive')
  }
  gelu(): Value {
    return this.one('gelu')
  }
  silu(): Value {
    return this.one('silu')
  }
  /** Over the last axis. */
  softmax(): Value {
    return this.one('softmax')
  }
  /** Sum over `axes`, which stay as axes of 1. */
  sum(axes: readonly number[]): Value {
    return this.one('sum', [], { axes })
  }
  /** Undoes a broadcast: sums until the shape is `shape`. */
  sumTo(shape: readonly Dim[]): Value {
    return sameShape(this.shape, shape) ? this : this.one('sum_to', [], { shape })
  }
  broadcastTo(shape: readonly Dim[]): Value {
    return sameShape(this.shape, shape) ? this : this.one('broadcast_to', [], { shape })
  }
  reshape(shape: readonly Dim[]): Value {
    return sameShape(this.shape, shape) ? this : this.one('reshape', [], { shape })
  }
  transpose(permutation: readonly number[]): Value {
    return this.one('transpose', [], { permutation })
  }
  /** `count` equal parts along an axis. */
  split(axis: number, count: number): Value[] {
    return this.many('split', [], { axis, count })
  }
  /** Joined with one or two others along an axis. */
  concat(others: readonly Value[], axis: number): Value {
    return others.length === 0 ? this : this.one('concat', others.slice(0, 2), { axis }).concat(others.slice(2), axis)
  }
  matmul(other: Value, { transposeA = false, transposeB = false } = {}): Value {
    return this.one('matmul', [other], { transposeA, transposeB })
  }
  gemm(
    other: Value,
    { add, transposeA = false, transposeB = false }: { add?: Value | undefined; transposeA?: boolean; transposeB?: boolean } = {},
  ): Value {
    return this.one('gemm', [other, add], { transposeA, transposeB })
  }
  layerNorm(weight: Value, bias: Value, epsilon: number): Value {
    return this.one('layer_norm', [weight, bias], { epsilon })
  }
  rmsNorm(weight: Value, epsilon: number): Value {
    return this.one('rms_norm', [weight], { epsilon })
  }
  /** See ops/rotary.ts. */
  rotary(positions: Value, frequencies: readonly number[], scale: number): Value {
    return this.one('rotary', [positions], { frequencies, scale, inverse: false })
  }
  /** Rows of this table; see ops/gather.ts. */
  gather(indices: Value): Value {
    return this.one('gather', [indices])
  }
  scatterRows(indices: Value, rows: Dim): Value {
    return this.one('scatter_rows', [indices], { rows: [rows] })
  }
  /** One matrix for each row and head, in `parts` values; see ops/to_heads.ts. */
  toHeads(slots: Value, places: Value, { heads, parts }: { heads: number; parts: number }): Value[] {
    return this.many('to_heads', [slots, places], { heads, parts })
  }
  /** Back to packed tokens; see ops/from_heads.ts. */
  fromHeads(slots: Value, places: Value): Value {
    return this.one('from_heads', [slots, places])
  }
  /** Negative log-likelihood, log-sum-exp and probabilities of a linear head; see ops/cross_entropy_head.ts. */
  crossEntropyHead(weight: Value, targets: Value): { nll: Value; logSumExp: Value; slope: Value } {
    const [nll, logSumExp, slope] = this.many('cross_entropy_head', [weight, targets])
    return { nll: nll, logSumExp: logSumExp, slope: slope }
  }
}
