/**
 * @file Checks what a run is given against what the graph declares, and finds what each symbol stands for.
 */
import type { Graph, Spec } from '../graph/data.js'
import { graphInputs } from '../graph/data.js'
import { evaluateDim, type Dim } from '../graph/dims.js'

interface Given {
  readonly dtype?: string
  readonly shape: readonly number[]
}

/**
 * Binds symbols to sizes from the inputs that have a bare symbol as a dimension, then checks every dimension.
 * @throws Error naming the input, if one is missing, has another dtype or rank, or a size that does not agree.
 */
export function bindInputs(graph: Graph, given: Readonly<Record<string, Given>>, program: string): Map<string, number> {
  const bindings = new Map<string, number>()
  const specs = [...graphInputs(graph)]
  for (const [name, spec] of specs) {
    const value = given[name]
    if (!value) throw new Error(`${program}: input ${name} is missing`)
    if (value.dtype !== undefined && value.dtype !== spec.dtype)
      throw new Error(`${program}: input ${name} is ${value.dtype}, not ${spec.dtype}`)
    if (value.shape.length !== spec.shape.length) throw mismatch(program, name, spec, value)
    spec.shape.forEach((dim, axis) => {
      if (typeof dim === 'string' && isSymbol(dim) && !bindings.has(dim)) bindings.set(dim, value.shape[axis])
    })
  }
  for (const [name, spec] of specs) {
    const value = given[name]
    if (spec.shape.some((dim, axis) => evaluateDim(dim, bindings) !== value.shape[axis])) throw mismatch(program, name, spec, value)
  }
  return bindings
}

export function isSymbol(dim: Dim): boolean {
  return typeof dim === 'string' && !/[*+]/.test(dim)
}

function mismatch(program: string, name: string, spec: Spec, value: Given): Error {
  return new Error(`${program}: input ${name} has shape [${value.shape.join(', ')}], which does not fit [${spec.shape.join(', ')}]`)
}
