/**
 * @file Compares gradients with central differences, in float64 throughout.
 */
import { expect } from 'vitest'
import { gradients } from '../grad.js'
import type { GraphBuilder } from '../graph.js'
import { NdArray } from '../ndarray.js'
import { compute, construct, normal, type Build, type DeclaredShapes, type GivenInputs } from './forward.js'

/** Largest difference allowed, as a part of the largest slope. */
const RELATIVE_TOLERANCE = 1e-6

export interface GradientOptions<Inputs extends GivenInputs> {
  /**
   * How far each element is moved. The differences are wrong by about step^2 of the third derivative and by 1e-16 / step of rounding, so
   * 1e-5 is good to 1e-10 where numbers are near 1.
   */
  readonly step?: number
  /** Allowed besides 1e-6 of the largest slope: for gradients that are zero, whose differences are mere rounding. */
  readonly atol?: number
  /** Inputs declared with symbols instead of their own sizes. */
  readonly shapes?: DeclaredShapes<Inputs>
  /** Builds with another op table. */
  readonly builder?: GraphBuilder
}

/**
 * Takes the sum of each result times a random cotangent as a function of the f32 inputs, and checks that `gradients` gives its slope at
 * `inputs` in every direction: max |gradient - difference| <= 1e-6 max |difference| + atol, for each input apart.
 *
 * @param build makes the results from values named as the inputs are; i32 inputs are held fixed, and must get no gradient.
 */
export function expectGradient<Inputs extends GivenInputs>(
  build: Build<Inputs>,
  inputs: Inputs,
  { step = 1e-5, atol = 0, shapes = {}, builder: given }: GradientOptions<Inputs> = {},
): void {
  const { builder, inputs: values, results } = construct(build, inputs, { shapes, ...(given ? { builder: given } : {}) })
  const forwardGraph = builder.finish()
  const cotangents: Record<string, NdArray> = {}
  const before = compute(forwardGraph, inputs)
  const seeds = results.map((result, i) => {
    const name = `cotangent.${i}`
    cotangents[name] = normal(before[result.id].shape, name)
    return [result, builder.input(name, 'f32', result.shape)] as const
  })
  const names = Object.keys(inputs)
  const found = gradients(
    builder,
    seeds,
    names.map((name) => values[name]),
  )
  const all = compute(builder.finish(), { ...inputs, ...cotangents })

  const objective = (moved: GivenInputs): number => {
    const arrays = compute(forwardGraph, moved)
    return results.reduce((sum, { id }, i) => sum + innerProduct(arrays[id], cotangents[`cotangent.${i}`]), 0)
  }
  names.forEach((name, position) => {
    const array = inputs[name]
    const gradient = found[position]
    if (!(array instanceof NdArray)) return expect(gradient, `indices ${name} have no gradient`).toBeNull()
    const differences = array.map(() => 0)
    array.data.forEach((_, at) => {
      const moved = (by: number): number => {
        const data = Float64Array.from(array.data)
        data[at] += by
        return objective({ ...inputs, [name]: new NdArray(array.shape, data) })
      }
      differences.data[at] = (moved(step) - moved(-step)) / (2 * step)
    })
    const analytic = gradient ? all[gradient.id] : array.map(() => 0)
    expect(analytic.shape, `shape of the gradient of ${name}`).toEqual(array.shape)
    const error = largest(analytic.zip(differences, (a, b) => a - b))
    const slope = largest(differences)
    // Not "error > allowed": a NaN must fail too.
    expect(error <= RELATIVE_TOLERANCE * slope + atol, `gradient of ${name} is off by ${error}, and the largest slope is ${slope}`).toBe(
      true,
    )
  })
}

function innerProduct(a: NdArray, b: NdArray): number {
  return a.data.reduce((sum, value, i) => sum + value * b.data[i], 0)
}

function largest(array: NdArray): number {
  return array.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
}
