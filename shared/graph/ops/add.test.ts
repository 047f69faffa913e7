import { describe } from 'vitest'
import { testBinary } from '../testing/elementwise.js'

describe('add', () => {
  testBinary('add', { results: [5, 3, -3] })
})
