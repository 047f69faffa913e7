/**
 * @file Collects the nodes and literals of an ONNX model, and computes sizes that are known only when the model runs.
 */
import { unreachable } from '../../errors.js'
import type { DType } from '../../graph/data.js'
import type { Dim } from '../../graph/dims.js'
import type { QuantizedMatrix } from '../blocks.js'
import type { WeightContent } from '../weights.js'
import type { AttributeProto, InitializerProto, NodeProto } from './proto.js'

/** A value as lowerings see it: its ONNX name, and what the graph says of it. */
export interface Operand {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly Dim[]
  /** A weight in blocks. Its `name` is that of the numbers they stand for, which are made only if something asks for it. */
  readonly blocks?: BlockWeight
  /** A weight that the runtime copies to the order in which its products read it. */
  readonly isLaidOut?: boolean
}

/** A frozen weight [rows, columns] that is kept in blocks. */
export interface BlockWeight {
  readonly name: string
  readonly shape: readonly number[]
  readonly content: QuantizedMatrix<WeightContent>
  /**
   * Whether products are computed in codes: the other factor's rows are then rounded to 8-bit blocks too. Else the weight's blocks are turned
   * into numbers for each product.
   */
  readonly inCodes: boolean
}

/** Where a run's inputs show what a symbol stands for. */
export type SymbolSources = ReadonlyMap<string, { readonly input: string; readonly axis: number }>

interface Extras {
  readonly attributes?: Readonly<Record<string, AttributeProto>>
  /** Of com.microsoft instead of ai.onnx. */
  readonly contrib?: boolean
}

export class Emitter {
  readonly nodes: NodeProto[] = []
  readonly initializers: InitializerProto[] = []
  private readonly known = new Map<string, string>()
  private lastName = 0

  constructor(private readonly symbols: SymbolSources) {}

  /** Appends a node with one output and returns its name. */
  one(opType: string, inputs: readonly string[], extras?: Extras): string {
    return this.many(opType, inputs, 1, extras)[0]
  }

  many(opType: string, inputs: readonly string[], count: number, { attributes = {}, contrib = false }: Extras = {}): string[] {
    const outputs = Array.from({ length: count }, () => this.fresh())
    this.nodes.push({ opType, domain: contrib ? 'com.microsoft' : '', inputs, outputs, attributes })
    return outputs
  }

  /** An f32 literal. */
  floats(data: readonly number[], shape: readonly number[] = []): string {
    const raw = Float32Array.from(data)
    return this.once(`f32[${shape.join()}]${raw.join()}`, () => this.literal('f32', shape, new Uint8Array(raw.buffer)))
  }

  /** An int64 literal, shape [n], or a scalar if a number is given. */
  integers(data: number | readonly number[]): string {
    const [values, shape] = typeof data === 'number' ? [[data], []] : [data, [data.length]]
    return this.once(`i64[${shape.join()}]${values.join()}`, () =>
      this.literal('i64', shape, new Uint8Array(BigInt64Array.from(values, BigInt).buffer)),
    )
  }

  /** A dimension as int64 [1]: a literal, or computed from the shapes of the run's inputs. */
  dim(dim: Dim): string {
    if (typeof dim === 'number') return this.integers([dim])
    return this.once(`dim ${dim}`, () => {
      const terms = dim.split('+').map((term) => this.fold('Mul', term.split('*')))
      return terms.reduce((sum, term) => this.one('Add', [sum, term]))
    })
  }

  /** A shape as int64 [rank]. */
  shape(dims: readonly Dim[]): string {
    if (dims.every((dim) => typeof dim === 'number')) return this.integers(dims)
    return this.once(`shape ${dims.join()}`, () =>
      dims.length === 1
        ? this.dim(dims[0])
        : this.one(
            'Concat',
            dims.map((dim) => this.dim(dim)),
            { attributes: { axis: { int: 0 } } },
          ),
    )
  }

  /** Builds a helper value the first time that `key` is asked for. */
  once(key: string, build: () => string): string {
    const known = this.known.get(key)
    if (known !== undefined) return known
    const name = build()
    this.known.set(key, name)
    return name
  }

  /** A tensor under a name of its own, which cannot begin with %. */
  tensor(name: string, type: InitializerProto['type'], dims: readonly number[], content: InitializerProto['content']): string {
    return this.once(name, () => {
      this.initializers.push({ name, type, dims, content })
      return name
    })
  }

  private fold(opType: string, factors: readonly string[]): string {
    return factors.map((factor) => this.factor(factor)).reduce((left, right) => this.one(opType, [left, right]))
  }

  private factor(factor: string): string {
    if (/^\d+$/.test(factor)) return this.integers([Number(factor)])
    return this.once(`dim ${factor}`, () => {
      const source = this.symbols.get(factor) ?? unreachable(`no input has the bare dimension ${factor}`)
      return this.one('Shape', [source.input], { attributes: { start: { int: source.axis }, end: { int: source.axis + 1 } } })
    })
  }

  private literal(type: 'f32' | 'i64', dims: readonly number[], raw: Uint8Array): string {
    const name = this.fresh()
    this.initializers.push({ name, type, dims, content: { raw } })
    return name
  }

  /** `%` cannot start an input or weight name, which carry a prefix of their own. */
  private fresh(): string {
    return `%${++this.lastName}`
  }
}
