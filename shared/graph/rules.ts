/**
 * @file What shape rules refuse: inputs of the wrong dtype, rank or shape. Such a node is a bug of whatever built it.
 */
import { unreachable } from '../errors.js'
import type { DType, Spec } from './data.js'
import { broadcastShape, sameShape, type Dim } from './dims.js'

/**
 * An input as it must be.
 * @param what the op and the input, as `gather: table`.
 * @param rank number of axes; any if absent.
 * @returns the input's dtype and shape.
 */
export function expectSpec(what: string, { dtype, shape }: Spec, wanted: DType, rank?: number): Spec {
  if (dtype !== wanted) unreachable(`${what} is ${dtype}, not ${wanted}`)
  if (rank !== undefined && shape.length !== rank) unreachable(`${what} has shape [${shape.join(', ')}], not ${rank} axes`)
  return { dtype, shape }
}

export function expectShape(what: string, { shape }: Spec, wanted: readonly Dim[]): void {
  if (!sameShape(shape, wanted)) unreachable(`${what} has shape [${shape.join(', ')}], not [${wanted.join(', ')}]`)
}

/** Refuses a shape that does not stretch to `wanted` as it stands. */
export function expectStretches(what: string, shape: readonly Dim[], wanted: readonly Dim[]): void {
  if (shape.length > wanted.length || !sameShape(broadcastShape(shape, wanted), wanted))
    unreachable(`${what}: shape [${shape.join(', ')}] does not stretch to [${wanted.join(', ')}]`)
}

export function expectAxis(what: string, axis: number, rank: number): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) unreachable(`${what}: there is no axis ${axis} among ${rank}`)
}

/** The rule of ops that work on each number alone. */
export function elementwise(op: string, { x }: { readonly x: Spec }): Spec {
  return expectSpec(`${op}: x`, x, 'f32')
}

/** The rule of ops on two arrays that broadcast, axes aligned at the end. */
export function broadcasting(op: string, { a, b }: { readonly a: Spec; readonly b: Spec }): Spec {
  expectSpec(`${op}: a`, a, 'f32')
  expectSpec(`${op}: b`, b, 'f32')
  return { dtype: 'f32', shape: broadcastShape(a.shape, b.shape) }
}
