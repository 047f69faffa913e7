import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('silu', () => {
  // torch.nn.functional.silu in float64 (PyTorch 2.13), to ten places.
  testUnary('silu', {
    published: [
      [-3, -0.1422776195],
      [-1, -0.2689414214],
      [0, 0],
      [0.5, 0.3112296656],
      [1, 0.7310585786],
      [800, 800],
      [-800, 0],
    ],
    atol: 1e-10,
    smooth: [-3, -1.5, -0.5, 0, 0.5, 1.5, 3],
  })
})
