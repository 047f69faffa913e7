import { describe } from 'vitest'
import { testBinary } from '../testing/elementwise.js'

describe('sub', () => {
  testBinary('sub', { results: [-3, -7, 9] })
})
