import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('log', () => {
  // ln 2 and ln 10 to 16 digits: Abramowitz & Stegun 1964, table 1.1.
  testUnary('log', {
    published: [
      [1, 0],
      [2, 0.6931471805599453],
      [10, 2.302585092994046],
    ],
    smooth: [0.3, 1, 2.5, 40],
  })
})
