import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('gelu', () => {
  // 0.5 (1 + tanh(SCALE * 1.044715)) worked out for x = 1; GELU(-1) = GELU(1) - 1; x and 0 far out.
  testUnary('gelu', {
    published: [
      [-1, -0.158808],
      [0, 0],
      [1, 0.841192],
      [20, 20],
      [-20, 0],
    ],
    atol: 5e-7,
    smooth: [-3, -1.5, -0.5, 0, 0.5, 1.5, 3],
  })
})
