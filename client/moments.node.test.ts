import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { f32 } from '../shared/tensor.js'
import type { OptimizerState } from '../shared/train/optimizer.js'
import { stateFolder, storedMoments } from './moments.node.js'

let state: string
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'cutlayer-state-'))
})
afterEach(() => rm(state, { recursive: true }))

const moments = (updates: number): OptimizerState => ({
  updates,
  mean: new Map([['block.0.lora_A.weight', f32([2, 2], [updates, -0.5, 1e-30, 0])]]),
  square: new Map([['block.0.lora_A.weight', f32([2, 2], [0.25, 1e-9, 3, 4])]]),
})

test('moments come back bit for bit, in another process too', async () => {
  await storedMoments('run-1', 'client-0', state).save(1, moments(10), 1)
  expect(await storedMoments('run-1', 'client-0', state).load(1)).toEqual(moments(10))
})

test('a round, a client and a run that kept nothing have none', async () => {
  await storedMoments('run-1', 'client-0', state).save(1, moments(10), 1)
  expect(await storedMoments('run-1', 'client-0', state).load(2)).toBeNull()
  expect(await storedMoments('run-1', 'client-1', state).load(1)).toBeNull()
  expect(await storedMoments('run-2', 'client-0', state).load(1)).toBeNull()
})

test('what may still be asked for is kept, and nothing else stays in the folder', async () => {
  const store = storedMoments('run-1', 'client-0', state)
  for (const [round, since] of [
    [3, 3],
    [9, 3],
    [10, 3],
    [11, 9],
  ])
    await store.save(round, moments(round), since)
  const names = await readdir(join(state, 'run-1', 'client-0'))
  expect(names.sort()).toEqual(['round-10.safetensors', 'round-11.safetensors', 'round-9.safetensors'])
  await writeFile(join(state, 'run-1', 'client-0', '.round-12.safetensors.tmp'), 'of a process that died')
  expect(await store.rounds()).toEqual([9, 10, 11])
})

test('a client that has kept nothing has no rounds', async () => {
  expect(await storedMoments('run-1', 'client-0', state).rounds()).toEqual([])
})

test('once the run is over nothing stays, but what other clients of it keep', async () => {
  const stores = ['client-0', 'client-1'].map((client) => storedMoments('run-1', client, state))
  for (const store of stores) await store.save(1, moments(1), 1)
  await stores[0]!.clear()
  expect(await readdir(join(state, 'run-1'))).toEqual(['client-1'])
  await stores[1]!.clear()
  expect(await readdir(state)).toEqual([])
  await stores[1]!.clear() // there is nothing left to remove
})

test.each(['../../elsewhere', '..', 'a/b', '', 'x'.repeat(256)])('the run name %j of a server leads to no other folder', async (run) => {
  await storedMoments(run, 'client-0', state).save(1, moments(1), 1)
  expect(await readdir(state)).toEqual([expect.stringMatching(/^run-[0-9a-f]{16}$/)])
  expect(await storedMoments(run, 'client-0', state).load(1)).toEqual(moments(1))
})

test('a file that was cut is an error that names it, not an empty state', async () => {
  const store = storedMoments('run-1', 'client-0', state)
  await store.save(1, moments(1), 1)
  const file = join(state, 'run-1', 'client-0', 'round-1.safetensors')
  await truncate(file, 40)
  await expect(store.load(1)).rejects.toMatchObject({ code: 'CLIENT_FAILED', what: expect.stringContaining(file) as string })
})

test('a folder that cannot be made is an error with its path', async () => {
  await writeFile(join(state, 'run-1'), 'a file in its place')
  await expect(storedMoments('run-1', 'client-0', state).save(1, moments(1), 1)).rejects.toMatchObject({ code: 'CLIENT_FAILED' })
})

test('the state folder is named by CUTLAYER_STATE, else by XDG_STATE_HOME if that is absolute', () => {
  const home = stateFolder({})
  expect(home).toMatch(/[\\/]\.local[\\/]state[\\/]cutlayer$/)
  expect(stateFolder({ CUTLAYER_STATE: '/a', XDG_STATE_HOME: '/b' })).toBe('/a')
  expect(stateFolder({ XDG_STATE_HOME: '/b' })).toBe(join('/b', 'cutlayer'))
  expect(stateFolder({ XDG_STATE_HOME: 'relative' })).toBe(home)
})
