import { expect, test } from 'vitest'
import { parseConfig } from '../shared/config/parse.js'
import type { Architecture } from '../shared/model/families/family.js'
import { serverShare, sharedEngine } from './engine-share.js'

const narrow = { hiddenSize: 256 } as Architecture
const wide = { hiddenSize: 768 } as Architecture
const config = (federation: object = {}, split: object = {}): ReturnType<typeof parseConfig> =>
  parseConfig({ split: { cut_layer: 1, ...split }, federation: { num_clients: 3, ...federation } })

test('the top of a narrow model has a lane for each core, but none for more clients than there are', () => {
  expect(serverShare(config(), narrow, 2)).toEqual({ lanes: 2, threads: [1, 1], topLanes: 2 })
  expect(serverShare(config(), narrow, 8)).toEqual({ lanes: 3, threads: [2, 3, 3], topLanes: 3 })
})

test('the top of a wide model has one lane with all threads', () => {
  expect(serverShare(config(), wide, 8)).toEqual({ lanes: 1, threads: [8], topLanes: 1 })
})

test('a sequential top, and a run without one, have one lane', () => {
  expect(serverShare(config({ top: 'sequential' }), narrow, 2).topLanes).toBe(1)
  expect(serverShare(config({}, { topology: 'federated' }), narrow, 2).topLanes).toBe(1)
})

test('where the clients work in the same process, a wide top has all cores in its lane, a narrow one takes each lane', () => {
  const engine = { threads: 4, lanes: 4, each: 1 }
  expect(sharedEngine(config(), wide, engine)).toEqual({ lanes: 4, threads: [4, 1, 1, 1], topLanes: 1 })
  expect(sharedEngine(config(), narrow, engine)).toEqual({ lanes: 4, threads: [1, 1, 1, 1], topLanes: 3 })
})
