import { expect, test } from 'vitest'
import { beforeExit, closeBeforeExit } from './exit.node.js'

test('what is registered is closed once, even if a neighbour fails', async () => {
  const closed: string[] = []
  beforeExit(async () => void closed.push('a'))
  beforeExit(() => Promise.reject(new Error('cannot close')))
  const takeBack = beforeExit(async () => void closed.push('never'))
  takeBack()
  expect(await closeBeforeExit(60_000)).toBe(true)
  expect(await closeBeforeExit(60_000)).toBe(true)
  expect(closed).toEqual(['a'])
})

test('what hangs is waited for no longer than allowed', async () => {
  beforeExit(() => new Promise(() => undefined))
  expect(await closeBeforeExit(1)).toBe(false)
})
