import { describe, test } from 'vitest'
import { gradients } from '../grad.js'
import type { Value } from '../graph.js'
import { expectArray, f64, forward } from '../testing/forward.js'
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
  test('has the gradient 0 at 0, as PyTorch has', () => {
    const slope = ({ x, up }: Record<'x' | 'up', Value>) => gradients(x.builder, [[x.relu(), up]], [x])[0]!
    expectArray(forward(slope, { x: f64([3], [-1, 0, 1]), up: f64([3], [5, 5, 5]) })[0], [3], [0, 0, 5])
  })
})
