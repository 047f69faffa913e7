import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { helloOf, joinRun, memoryMoments } from '../client/join.js'
import { silentObserver } from '../server/observer.js'
import { startServer } from '../server/start.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { openModel } from '../shared/model/model.node.js'
import { weightsOfSides } from '../shared/model/loaded.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { RoundLine } from '../shared/run-records.js'
import { simulate } from './simulation.js'
import { smallConfig } from './testing/small-run.js'
import { openWorkshop, textRows, type Workshop } from './testing/workshop.js'

let shop: Workshop
beforeAll(async () => {
  shop = await openWorkshop()
  await writeFile(shop.at('rows.jsonl'), textRows(180))
})
afterAll(() => shop.remove())

test('of many clients only those that were selected lay out their rows, and all is let go at the end', async () => {
  const clients = 60
  const config = smallConfig({
    data: { path: shop.at('rows.jsonl'), max_length: 32, partition: 'iid' },
    federation: { num_rounds: 2, num_clients: clients, local_steps: 2, fraction_train: 1e-9, min_train_clients: 3, fraction_evaluate: 0 },
  })
  const model = await openModel(shop.at('model'))
  const { top, bottom } = weightsOfSides(model.definition, 2)
  const weights = await model.weights([...new Set([...top, ...bottom])])
  const backend = referenceBackend()
  const simulation = simulate(config, { model, backend })
  const rounds: RoundLine[] = []
  const opened = new Set<string>()
  let mostAtWork = 0
  const { server, dispose } = await startServer({
    config,
    run: 'simulated',
    model,
    weights,
    backend,
    token: null,
    observer: { ...silentObserver, round: (line) => void rounds.push(line) },
  })
  const joined = Array.from({ length: clients }, async (_, index) => {
    const client = `client-${index}`
    const part = { index, count: clients }
    const hello = helloOf({ client, token: null, part, ownData: false, engine: backend.name, software: 'test' })
    const pair = memoryLinkPair({ hello })
    server.attach(pair.server)
    const { openData, around } = simulation.client(client, index)
    await joinRun({
      ...{ client, link: pair.client, backend, stages: simulation.stages, moments: memoryMoments(), around },
      openModel: async () => ({ ...model, weights: async () => weights }),
      openData: async (welcome) => {
        const data = await openData(welcome)
        const localStep: typeof data.localStep = (...place) => {
          opened.add(client)
          const batches = data.localStep(...place)
          mostAtWork = Math.max(mostAtWork, simulation.atWork)
          return batches
        }
        return { ...data, localStep }
      },
    })
  })
  await Promise.all([server.finished, ...joined])
  const selected = rounds.flatMap((line) => line.clients.filter(({ steps }) => steps > 0).map(({ id }) => id))
  expect(rounds.slice(1).map((line) => line.clients.filter(({ steps }) => steps > 0).length)).toEqual([3, 3])
  expect(opened).toEqual(new Set(selected))
  expect(mostAtWork).toBe(3)
  expect(simulation.atWork).toBe(0)
  await simulation.dispose()
  await dispose()
  expect(backend.liveHandles()).toBe(0)
})
