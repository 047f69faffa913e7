import { describe } from 'vitest'
import { testUnary } from '../testing/elementwise.js'

describe('neg', () => {
  testUnary('neg', {
    published: [
      [1.5, -1.5],
      [-2, 2],
      [0, 0],
    ],
    smooth: [-2, 0, 3],
  })
})
