import { describe } from 'vitest'
import { testBinary } from '../testing/elementwise.js'

describe('mul', () => {
  testBinary('mul', { results: [4, -10, -18] })
})
