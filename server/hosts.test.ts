import { expect, test } from 'vitest'
import { isNameOf, isSameOrigin } from './hosts.js'

test.each([
  ['127.0.0.1', '127.0.0.1:7700', true],
  ['127.0.0.1', 'localhost:7700', true],
  ['127.0.0.1', 'LOCALHOST', true],
  ['127.0.0.1', '[::1]:7700', true],
  ['localhost', 'localhost', true],
  // The near end of a tunnel.
  ['127.0.0.1', '10.1.2.3:80', true],
  ['127.0.0.1', 'evil.example:7700', false],
  ['127.0.0.1', '127.0.0.1.evil.example', false],
  ['127.0.0.1', 'not a name', false],
  ['127.0.0.1', '', false],
  ['::1', undefined, false],
  ['0.0.0.0', 'edge.example:7700', true],
])('a server on %s answers to %s: %s', (bound, header, isOne) => {
  expect(isNameOf(bound, header)).toBe(isOne)
})

test.each([
  [undefined, 'localhost:1', true],
  ['http://localhost:1', 'localhost:1', true],
  ['http://localhost:2', 'localhost:1', false],
  ['null', 'localhost:1', false],
])('a page of origin %s may connect to %s: %s', (origin, host, isOne) => {
  expect(isSameOrigin(origin, host)).toBe(isOne)
})
