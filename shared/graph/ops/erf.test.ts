import { describe, test } from 'vitest'
import { expectArray, f64, forward } from '../testing/forward.js'
import { testUnary } from '../testing/elementwise.js'

describe('erf', () => {
  // Abramowitz & Stegun 1964, table 7.1 (10 digits), and 1 - erfc(4) from erfc(4) = 1.541725790e-8 of its table 7.3.
  testUnary('erf', {
    published: [
      [0, 0],
      [0.5, 0.5204998778],
      [1, 0.8427007929],
      [2, 0.995322265],
      [-1, -0.8427007929],
      [4, 1 - 1.54172579e-8],
      [7, 1],
      [-7, -1],
    ],
    atol: 6e-11,
    smooth: [-2.5, -0.5, 0, 0.5, 1.5, 3.2],
  })
  test('keeps 15 digits where its series ends and the continued fraction begins', () => {
    // The C library's erf, which is good to one unit in the last place.
    const y = [0.9999779095030014, 0.9999939742388483, 0.9999999845827421, 0.9999999999999999]
    expectArray(forward(({ x }) => x.erf(), { x: f64([4], [3, 3.2, 4, 5.9]) })[0], [4], y, 1e-15)
  })
})
