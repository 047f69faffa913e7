/**
 * @file What a lowering is given: one node of a graph with its operands, in one run.
 */
import { unreachable } from '../../../errors.js'
import type { Attributes } from '../../../graph/data.js'
import type { Kernels, TfTensor } from '../kernels.js'

export class Call {
  constructor(
    private readonly op: string,
    private readonly operands: readonly (TfTensor | null)[],
    private readonly attributes: Attributes,
    /** Of the outputs, in this run. */
    readonly shapes: readonly (readonly number[])[],
    /**
     * Builds a helper the first time that a run asks for its key, and holds it until the run ends: what several nodes need is computed once.
     */
    readonly once: (key: string, build: () => TfTensor) => TfTensor,
  ) {}

  input(position: number): TfTensor {
    return this.operands[position] ?? unreachable(`${this.op} lacks input ${position}`)
  }

  optional(position: number): TfTensor | null {
    return this.operands[position] ?? null
  }

  /** All inputs, in order. */
  get inputs(): TfTensor[] {
    return this.operands.filter((operand) => operand !== null)
  }

  get shape(): number[] {
    return [...this.shapes[0]!]
  }

  number(name: string): number {
    const value = this.attributes[name]
    return typeof value === 'number' ? value : unreachable(`${this.op}: ${name} is not a number`)
  }

  flag(name: string): boolean {
    return this.attributes[name] === true
  }

  /** A list of plain numbers, as axes are. */
  numbers(name: string): number[] {
    const value = this.attributes[name]
    if (!Array.isArray(value)) return unreachable(`${this.op}: ${name} is not a list`)
    return (value as readonly unknown[]).map((item) =>
      typeof item === 'number' ? item : unreachable(`${this.op}: ${name} holds a symbol`),
    )
  }
}

/** Computes one op's outputs. What it makes on the way is freed behind it. It may return an operand as it is. */
export type Lowering = (kernels: Kernels, call: Call) => TfTensor | readonly TfTensor[]
