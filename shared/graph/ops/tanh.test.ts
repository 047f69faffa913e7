import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('tanh', () => {
  // tanh 0.5 and tanh 1: Abramowitz & Stegun 1964, table 4.15, continued to 16 digits by (e^2x - 1) / (e^2x + 1).
  testUnary('tanh', {
    published: [
      [0, 0],
      [0.5, 0.46211715726000974],
      [1, 0.7615941559557649],
      [-1, -0.7615941559557649],
      [400, 1],
    ],
    smooth: [-2, -0.5, 0, 0.5, 2],
  })
})
