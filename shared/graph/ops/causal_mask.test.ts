import { describe, expect, test } from 'vitest'
import { expectArray, forward, normal } from '../testing/forward.js'
import { MASKED } from './causal_mask.js'
import { newGraph } from './index.js'

describe('causal_mask', () => {
  const M = MASKED
  const mask = (queries: number, keys: number, window = 0) =>
    forward(
      ({ scores }) => scores.builder.apply('causal_mask', [], { size: scores.shape, window }),
      { scores: normal([queries, keys], 's') },
      { scores: ['now', 'seen'] },
    )[0]
  test('hides later tokens and no others', () => {
    expectArray(mask(3, 3), [3, 3], [0, M, M, 0, 0, M, 0, 0, 0])
  })
  test('takes the queries for the last of the keys', () => {
    expectArray(mask(2, 4), [2, 4], [0, 0, 0, M, 0, 0, 0, 0])
  })
  test('hides nothing from a single token', () => {
    expectArray(mask(1, 1), [1, 1], [0])
    expectArray(mask(1, 3), [1, 3], [0, 0, 0])
  })
  test('lets a token see itself and those before it in its window', () => {
    expectArray(mask(4, 4, 2), [4, 4], [0, M, M, M, 0, 0, M, M, M, 0, 0, M, M, M, 0, 0])
    expectArray(mask(2, 4, 3), [2, 4], [0, 0, 0, M, M, 0, 0, 0])
    expectArray(mask(1, 3, 1), [1, 3], [M, M, 0])
    expectArray(mask(3, 3, 3), [3, 3], [...mask(3, 3).data])
  })
  test('leaves no weight on a hidden token, and no NaN', () => {
    const [weights] = forward(({ x }) => x.add(x.builder.apply('causal_mask', [], { size: [2, 2], window: 0 })[0]).softmax(), {
      x: normal([2, 2], 'x').map(() => 3),
    })
    expectArray(weights, [2, 2], [1, 0, 0.5, 0.5])
  })
  test('refuses a size that is not queries and keys', () => {
    expect(() => newGraph().apply('causal_mask', [], { size: [3], window: 0 })).toThrow(/not 2 axes/)
  })
  test.each([-1, 1.5])('refuses a window of %d tokens', (window) => {
    expect(() => mask(2, 2, window)).toThrow(/a window of/)
  })
})
