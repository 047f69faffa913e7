/**
 * @file What goes on at the same time: rounds do not wait for the disk, and clients make ready while they wait for the server.
 */
import { describe, expect, test } from 'vitest'
import { dataFromRows } from '../client/data.js'
import { memoryMoments, helloOf, joinRun } from '../client/join.js'
import { silentObserver } from '../server/observer.js'
import { startServer } from '../server/start.js'
import type { Backend } from '../shared/backend/backend.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { Trace } from '../shared/trace.js'
import { smallConfig, smallData, smallRows } from './testing/small-run.js'
import { goldenModel, runTogether } from './testing/together.js'

describe('a round', () => {
  /** Tells what happened, in order; the adapters of the rounds in `slow` are not written before the run lets them. */
  async function rounds(slow: readonly number[], until: string): Promise<string[]> {
    const told: string[] = []
    let release = (): void => {}
    const released = new Promise<void>((resolve) => (release = resolve))
    const note = (what: string): void => {
      told.push(what)
      if (what === until) release()
    }
    const { model, weights } = goldenModel('gpt2')
    const backend = referenceBackend()
    const config = smallConfig({ federation: { num_rounds: 3, num_clients: 1, local_steps: 1 }, eval: { every_rounds: 100 } })
    const { server, dispose } = await startServer({
      ...{ config, run: 'overlap', model, weights, backend, token: null },
      observer: {
        ...silentObserver,
        step: ({ round, client }) => client !== null && note(`step of ${round}`),
        round: ({ round }) => round > 0 && note(`line of ${round}`),
        async adapter(round) {
          note(`adapter of ${round}`)
          if (slow.includes(round)) await released
        },
      },
    })
    const client = 'client-0'
    const hello = helloOf({ client, token: null, part: null, ownData: true, engine: backend.name, software: 'test' })
    const pair = memoryLinkPair({ hello })
    server.attach(pair.server)
    const joined = joinRun({
      ...{ client, link: pair.client, backend, lane: 0, moments: memoryMoments() },
      openModel: async () => model,
      openData: async ({ config: given }) => dataFromRows(smallRows(0), client, given),
    })
    await Promise.all([server.finished, joined])
    await dispose()
    return told
  }

  test('begins while the adapter of the one before is written, whose line waits for it', async () => {
    const told = await rounds([1], 'step of 2')
    expect(told.indexOf('step of 2')).toBeLessThan(told.indexOf('line of 1'))
    expect(told.indexOf('line of 1')).toBeLessThan(told.indexOf('adapter of 2'))
  })

  test('ends only when the one before is written: adapters do not pile up', async () => {
    const told = await rounds([1], 'step of 2')
    expect(told.indexOf('line of 1')).toBeLessThan(told.indexOf('step of 3'))
  })

  test('is told with its adapter, and the run ends when all are', async () => {
    const all = ['adapter of 1', 'line of 1', 'adapter of 2', 'line of 2', 'adapter of 3', 'line of 3']
    const told = await rounds([3], 'step of 3')
    expect(told.filter((what) => !what.startsWith('step'))).toEqual(all)
  })
})

test('a client makes the batches of its next step after its activations are sent and before it has their gradient', async () => {
  const told: string[] = []
  const trace: Trace = {
    isOn: true,
    begin(_, name) {
      told.push(name)
      return () => void told.push(`${name}: done`)
    },
    beginStep: () => () => {},
    mark() {},
    ran() {},
  }
  const { model, weights } = goldenModel('gpt2')
  const backend = referenceBackend()
  const config = smallConfig({ federation: { num_rounds: 1, num_clients: 1, local_steps: 2 } })
  const { server, dispose } = await startServer({
    ...{ config, run: 'overlap', model, weights, backend, token: null, observer: silentObserver },
  })
  const client = 'client-0'
  const hello = helloOf({ client, token: null, part: null, ownData: true, engine: backend.name, software: 'test' })
  const pair = memoryLinkPair({ hello })
  server.attach(pair.server)
  const joined = joinRun({
    ...{ client, link: pair.client, backend, lane: 0, moments: memoryMoments(), trace },
    openModel: async () => model,
    openData: async ({ config: given }) => dataFromRows(smallRows(0), client, given),
  })
  await Promise.all([server.finished, joined])
  await dispose()
  const places = ['send activations: done', 'prepare batches', 'wait for gradients: done'].map((name) =>
    told.indexOf(name, told.indexOf('forward')),
  )
  expect(places).toEqual([...places].sort((a, b) => a - b))
  expect(told.filter((name) => name === 'prepare batches')).toHaveLength(2)
})

test('a top in two lanes computes the micro-batches of two clients at the same time, and gives the same bits as in one', async () => {
  const config = smallConfig({ federation: { num_rounds: 1, num_clients: 2, local_steps: 2 } })
  const inner = referenceBackend()
  let [underWay, together] = [0, (): void => {}]
  const twoAtOnce = new Promise<void>((resolve) => (together = resolve))
  const compile: Backend['compile'] = async (graph, weights, options) => {
    const program = await inner.compile(graph, weights, options)
    if (options.name !== 'top-train') return program
    return {
      ...program,
      async run(...given) {
        if (++underWay === 2) together()
        // The first waits for another, which one lane would never begin.
        await twoAtOnce
        const results = await program.run(...given)
        underWay--
        return results
      },
    }
  }
  const inTwo = await runTogether({ config, backend: { ...inner, compile }, topLanes: 2, data: smallData(2) })
  const inOne = await runTogether({ config, backend: referenceBackend(), data: smallData(2) })
  expect(inTwo.adapter).toEqual(inOne.adapter)
  expect(inTwo.steps).toHaveLength(inOne.steps.length)
})

test('a trace changes no number of a run', async () => {
  const config = smallConfig({ federation: { num_rounds: 1, num_clients: 2, local_steps: 2 } })
  const [plain, traced] = await Promise.all(
    [false, true].map((isTraced) => {
      const trace: Trace = { isOn: true, begin: () => () => {}, beginStep: () => () => {}, mark() {}, ran() {} }
      return runTogether({ config, backend: referenceBackend(isTraced ? { trace } : {}), data: smallData(2) })
    }),
  )
  expect(traced!.adapter).toEqual(plain!.adapter)
})
