import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('positive', () => {
  // By its definition: 0 is not positive.
  testUnary('positive', {
    published: [
      [-2, 0],
      [-0, 0],
      [0, 0],
      [1e-30, 1],
      [3, 1],
    ],
    smooth: [-2, -0.1, 0.1, 3],
    gradient: 'none',
  })
})
