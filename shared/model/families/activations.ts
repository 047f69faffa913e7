/**
 * @file Activation functions by the names that config.json gives them; names and forms as in transformers' activations.py.
 */
import type { Value } from '../../graph/graph.js'

/** 0.5 x (1 + erf(x / sqrt 2)): exact GELU. Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2. */
const exactGelu = (x: Value): Value => x.mul(Math.SQRT1_2).erf().add(1).mul(x).mul(0.5)

/** GELU's tanh form; the names differ in how PyTorch computes it, not in what. */
const tanhGelu = (x: Value): Value => x.gelu()

const silu = (x: Value): Value => x.silu()

/** Each maps f32 [...] to f32 of the same shape. */
export const activations = {
  gelu: exactGelu,
  gelu_python: exactGelu,
  gelu_new: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  gelu_python_tanh: tanhGelu,
  gelu_fast: tanhGelu,
  gelu_accurate: tanhGelu,
  relu: (x: Value): Value => x.relu(),
  silu,
  swish: silu,
  tanh: (x: Value): Value => x.tanh(),
} as const

export type ActivationName = keyof typeof activations
export const activationNames = Object.keys(activations) as [ActivationName, ...ActivationName[]]
