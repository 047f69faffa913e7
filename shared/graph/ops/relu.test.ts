import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('relu', () => {
  // By its definition, with both zeros.
  testUnary('relu', {
    published: [
      [-2, 0],
      [-0, 0],
      [0, 0],
      [1.5, 1.5],
    ],
    smooth: [-2, -0.1, 0.1, 3],
  })
})
