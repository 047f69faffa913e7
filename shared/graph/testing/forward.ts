/**
 * @file Builds and runs a small graph in float64 throughout: what op tests are made of.
 */
import { expect } from 'vitest'
import { bindInputs } from '../../backend/bindings.js'
import { evaluate } from '../../backend/reference.js'
import { derive } from '../../random.js'
import type { I32Tensor } from '../../tensor.js'
import type { Graph } from '../data.js'
import type { Dim } from '../dims.js'
import type { GraphBuilder, Value } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { newGraph } from '../ops/index.js'

/** An f32 input, handed over in float64, or an i32 one. */
export type Given = NdArray | I32Tensor
export type GivenInputs = Readonly<Record<string, Given>>
export type Build<Inputs extends GivenInputs> = (values: { readonly [Name in keyof Inputs]: Value }) => Value | readonly Value[]
/** How inputs are declared, where not by their own sizes: with symbols. */
export type DeclaredShapes<Inputs extends GivenInputs> = { readonly [Name in keyof Inputs]?: readonly Dim[] }

/** Numbers that need not be f32, row-major. */
export function f64(shape: readonly number[], data: readonly number[]): NdArray {
  return NdArray.from(shape, data)
}

/** Standard normal numbers that depend on nothing but shape and key. */
export function normal(shape: readonly number[], key: string): NdArray {
  const random = derive(7, 'test', key)
  return NdArray.zeros(shape).map(() => random.normal())
}

export interface Built<Inputs extends GivenInputs> {
  readonly builder: GraphBuilder
  readonly inputs: { readonly [Name in keyof Inputs]: Value }
  readonly results: readonly Value[]
}

/** Declares the inputs in `builder` and calls `build` with them. */
export function construct<Inputs extends GivenInputs>(
  build: Build<Inputs>,
  given: Inputs,
  { builder = newGraph(), shapes = {} }: { builder?: GraphBuilder; shapes?: DeclaredShapes<Inputs> } = {},
): Built<Inputs> {
  const declared = Object.entries(given).map(([name, array]) => {
    const dtype = array instanceof NdArray ? 'f32' : 'i32'
    return [name, builder.input(name, dtype, shapes[name] ?? array.shape)] as const
  })
  const inputs = Object.fromEntries(declared) as { [Name in keyof Inputs]: Value }
  return { builder, inputs, results: [build(inputs)].flat() }
}

/** Every value of a graph, by id. */
export function compute(graph: Graph, given: GivenInputs): readonly NdArray[] {
  const arrays = new Map(Object.entries(given).map(([name, array]) => [name, NdArray.from(array.shape, array.data)]))
  const bindings = bindInputs(graph, Object.fromEntries(arrays), 'test')
  return evaluate(graph, bindings, ({ name }) => arrays.get(name)!)
}

/** What `build` computes from the inputs: one array for each of its results. */
export function forward<Inputs extends GivenInputs>(build: Build<Inputs>, given: Inputs, shapes: DeclaredShapes<Inputs> = {}): NdArray[] {
  const { builder, results } = construct(build, given, { shapes })
  const values = compute(builder.finish(), given)
  return results.map(({ id }) => values[id])
}

/** Same shape, and every element within `atol`. */
export function expectArray(actual: NdArray | undefined, shape: readonly number[], data: readonly number[], atol = 1e-12): void {
  expect(actual?.shape).toEqual(shape)
  const numbers = [...actual!.data]
  const furthest = numbers.reduce((most, value, i) => Math.max(most, value === data[i] ? 0 : Math.abs(value - data[i])), 0)
  // A NaN makes `furthest` NaN, which is not within any tolerance.
  expect(furthest <= atol, `[${numbers.join(', ')}] is not [${data.join(', ')}] to ${atol}`).toBe(true)
  expect(numbers).toHaveLength(data.length)
}
