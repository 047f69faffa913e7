import { expect, test } from 'vitest'
import { ClientId } from './messages.js'

test.each(['client-0', 'Ada', '7', 'a.b_c', 'console', 'com', 'x'.repeat(64)])('%s may be the id of a client', (id) => {
  expect(ClientId.safeParse(id).success).toBe(true)
})

// A final dot is dropped from names on Windows, and these devices are found in every folder there.
test.each(['', '..', '.hidden', '../ada', 'a/b', 'a\\b', 'a b', 'ada.', 'nul', 'CON', 'com1', 'nul.txt', 'x'.repeat(65), 'ada\n'])(
  '%j is no id, because it names no folder everywhere',
  (id) => {
    expect(ClientId.safeParse(id).success).toBe(false)
  },
)
