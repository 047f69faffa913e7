import { test } from 'vitest'
import { expectArray, f64, forward } from '../../graph/testing/forward.js'
import { expectGradient } from '../../graph/testing/gradient.js'
import { activationNames, activations, type ActivationName } from './activations.js'

const X = [-3, -1, -0.5, 0, 0.5, 1, 3]
const EXACT_GELU = [-0.0040496941, -0.1586552539, -0.1542687694, 0, 0.3457312306, 0.8413447461, 2.9959503059]
const TANH_GELU = [-0.0036373921, -0.1588080094, -0.1542859902, 0, 0.3457140098, 0.8411919906, 2.9963626079]
const SILU = [-0.1422776195, -0.2689414214, -0.1887703344, 0, 0.3112296656, 0.7310585786, 2.8577223805]

/** What transformers' ACT2FN gives for X in float64 (transformers 5.23, PyTorch 2.13), to ten places. */
const PUBLISHED: Readonly<Record<ActivationName, readonly number[]>> = {
  gelu: EXACT_GELU,
  gelu_python: EXACT_GELU,
  gelu_new: TANH_GELU,
  gelu_pytorch_tanh: TANH_GELU,
  gelu_python_tanh: TANH_GELU,
  gelu_fast: TANH_GELU,
  gelu_accurate: TANH_GELU,
  relu: [0, 0, 0, 0, 0.5, 1, 3],
  silu: SILU,
  swish: SILU,
  tanh: [-0.9950547537, -0.761594156, -0.4621171573, 0, 0.4621171573, 0.761594156, 0.9950547537],
}

test.each(activationNames)('%s is what transformers computes', (name) => {
  const [y] = forward(({ x }) => activations[name](x), { x: f64([7], X) })
  expectArray(y, [7], PUBLISHED[name], 1e-9)
})

test.each(activationNames.filter((name) => name !== 'relu'))('%s has the gradient that central differences give', (name) => {
  expectGradient(({ x }) => activations[name](x), { x: f64([7], X) })
})
