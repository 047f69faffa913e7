import { describe } from 'vitest'
import { testBinary } from '../testing/elementwise.js'

describe('div', () => {
  testBinary('div', { results: [0.25, -0.4, -0.5] })
})
