import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('exp', () => {
  // e to 16 digits: Abramowitz & Stegun 1964, table 1.1.
  testUnary('exp', {
    published: [
      [0, 1],
      [1, 2.718281828459045],
      [-1, 0.36787944117144233],
    ],
    smooth: [-2, -0.5, 0, 0.5, 2],
  })
})
