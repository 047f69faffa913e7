import { expect, test } from 'vitest'
import { Turns } from './turns.js'

test('no more work is under way than there are turns, and it is done in order', async () => {
  const turns = new Turns(2)
  const [begun, ended, finish]: [number[], number[], (() => void)[]] = [[], [], []]
  const all = [0, 1, 2, 3].map((number) =>
    turns.take(async () => {
      begun.push(number)
      await new Promise<void>((resolve) => (finish[number] = resolve))
      ended.push(number)
    }),
  )
  expect(begun).toEqual([0, 1])
  finish[1]!()
  await all[1]
  await Promise.resolve()
  expect(begun).toEqual([0, 1, 2])
  finish[0]!()
  await all[0]
  await Promise.resolve()
  expect(begun).toEqual([0, 1, 2, 3])
  finish[2]!()
  finish[3]!()
  await Promise.all(all)
  expect(ended).toEqual([1, 0, 2, 3])
})

test('work that fails gives its turn to the next', async () => {
  const turns = new Turns(1)
  const failed = turns.take(() => Promise.reject(new Error('no')))
  const next = turns.take(async () => 'done')
  await expect(failed).rejects.toThrow('no')
  expect(await next).toBe('done')
})
