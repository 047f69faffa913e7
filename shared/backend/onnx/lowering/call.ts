/**
 * @file What a lowering is given: one node of a graph, with its operands' ONNX names.
 */
import { unreachable } from '../../../errors.js'
import type { Attribute, Attributes, Spec } from '../../../graph/data.js'
import type { Dim } from '../../../graph/dims.js'
import type { Emitter, Operand } from '../emitter.js'

export class Call {
  constructor(
    private readonly op: string,
    private readonly operands: readonly (Operand | null)[],
    private readonly attributes: Attributes,
    readonly outputs: readonly Spec[],
  ) {}

  input(position: number): Operand {
    return this.operands[position] ?? unreachable(`${this.op} lacks input ${position}`)
  }

  optional(position: number): Operand | null {
    return this.operands[position] ?? null
  }

  /** '' where the optional input is absent, as ONNX writes it. */
  optionalName(position: number): string {
    return this.operands[position]?.name ?? ''
  }

  /** Names of all inputs, in order. */
  get names(): string[] {
    return this.operands.flatMap((operand) => (operand ? [operand.name] : []))
  }

  number(name: string): number {
    const value = this.attribute(name)
    return typeof value === 'number' ? value : unreachable(`${this.op}: ${name} is not a number`)
  }

  flag(name: string): boolean {
    return this.attribute(name) === true
  }

  dims(name: string): readonly Dim[] {
    const value = this.attribute(name)
    return Array.isArray(value) ? (value as readonly Dim[]) : unreachable(`${this.op}: ${name} is not a list`)
  }

  /** A list of plain numbers, as axes are. */
  numbers(name: string): number[] {
    return this.dims(name).map((dim) => (typeof dim === 'number' ? dim : unreachable(`${this.op}: ${name} holds ${dim}`)))
  }

  private attribute(name: string): Attribute | undefined {
    return this.attributes[name]
  }
}

/** Appends the ONNX nodes of one op, and returns the names of its outputs. */
export type Lowering = (emit: Emitter, call: Call) => readonly string[]
