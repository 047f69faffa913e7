/**
 * @file What a program computes with: TensorFlow.js, on whichever of its back ends is set, and TensorFlow's own kernels where the native one is.
 */
import type * as Tfjs from '@tensorflow/tfjs-core'
import type { TfjsKind } from './worker-setup.js'

/** TensorFlow.js, as its core package or one that includes it exports it. */
export type Tf = typeof Tfjs
export type TfTensor = Tfjs.Tensor

/** What TensorFlow calls an op's attributes. */
export type KernelAttributes = Readonly<Record<string, boolean | number | { readonly dtype: 'f32' | 'i32' } | { readonly name: string }>>

/** The kernels of the native library, of which TensorFlow.js reaches only some by functions of its own. */
export interface TensorFlow {
  /** @throws Error with TensorFlow's own words */
  run(op: string, inputs: readonly TfTensor[], attributes: KernelAttributes, outputs: number): TfTensor[]
}

export interface Kernels {
  readonly kind: TfjsKind
  readonly tf: Tf
  /** null on WASM and on the plain CPU back end. */
  readonly tensorflow: TensorFlow | null
}
