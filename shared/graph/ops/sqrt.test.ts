import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('sqrt', () => {
  // sqrt 2 to 16 digits: Abramowitz & Stegun 1964, table 1.1.
  testUnary('sqrt', {
    published: [
      [0, 0],
      [2, 1.4142135623730951],
      [9, 3],
    ],
    smooth: [0.3, 1, 2.5, 40],
  })
})
