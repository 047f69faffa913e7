/**
 * @file The library's server and clients in one process, over real sockets.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  Client,
  defineStrategy,
  EdgeServer,
  parseConfig,
  type ClientOptions,
  type Config,
  type NamedTensors,
  type RowObject,
} from '../../index.js'
import { Summary } from '../../shared/run-records.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.env.CUTLAYER_STATE = workshop.at('state')
})
afterAll(() => workshop.remove())

function configOf(federation: object, data: object = {}): Config {
  return parseConfig({
    model: { model_name_or_path: workshop.at('model'), engine: 'reference' },
    lora: { r: 2, target_modules: ['c_attn'] },
    data: { path: workshop.at('rows.jsonl'), max_length: 32, ...data },
    train: { per_device_train_batch_size: 2, learning_rate: 0.01 },
    federation: { num_clients: 2, local_steps: 2, ...federation },
    output: { output_dir: workshop.at('runs') },
  })
}

const rows = (name: string): RowObject[] => Array.from({ length: 6 }, (_, row) => ({ text: `${name} ${row}` }))
const joinAs = (url: string, id: string, options: Partial<ClientOptions> = {}) =>
  Client.join(url, { id, data: rows(id), model: workshop.at('model'), engine: 'reference', threads: 1, ...options })
const statusOf = async (run: string) => Summary.parse(JSON.parse(await readFile(join(run, 'metrics', 'summary.json'), 'utf8'))).status

test('a server and its clients train on rows at hand, and tell of it', async () => {
  const heard: string[] = []
  let [first, firstCopy] = [new Map() as NamedTensors, new Map() as NamedTensors]
  const server = await EdgeServer.start(configOf({ num_rounds: 2 }), {
    watcher: {
      round: ({ round }) => heard.push(`round ${round}`),
      adapter(round, adapter) {
        heard.push(`adapter ${round}`)
        if (round === 1) [first, firstCopy] = [adapter, structuredClone(adapter)]
      },
    },
  })
  const before = server.adapter()
  const steps: string[] = []
  const clients = await Promise.all([
    joinAs(server.url, 'anna', { onEvent: (event) => event.kind === 'step' && steps.push(`${event.round}.${event.step}`) }),
    joinAs(server.url, 'ben', { data: workshop.at('rows.jsonl') }),
  ])
  const { rounds, run_dir, adapter_dir } = await server.finished
  await Promise.all(clients.map(({ finished }) => finished))
  expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2])
  expect([run_dir, adapter_dir]).toEqual([server.runDir, join(server.runDir, 'adapter')])
  expect(heard).toEqual(['round 0', 'adapter 1', 'round 1', 'adapter 2', 'round 2'])
  expect(steps).toEqual(['1.0', '1.1', '2.0', '2.1'])
  expect([...server.adapter().keys()]).toEqual([...before.keys()])
  expect(server.adapter()).not.toEqual(before)
  // What was told of a round stays as it was, however the training went on.
  expect(first.size).toBeGreaterThan(0)
  expect(first).toEqual(firstCopy)
  expect(await statusOf(run_dir)).toBe('complete')
})

describe('before the end of a run', () => {
  test.each(['stop', 'signal'] as const)('a server ends after the step under way (%s), and so do its clients', async (way) => {
    const aborting = new AbortController()
    let reach = (): void => {}
    const reached = new Promise<void>((resolve) => (reach = resolve))
    const server = await EdgeServer.start(configOf({ num_rounds: 1000 }), {
      watcher: { round: ({ round }) => round === 1 && reach() },
      signal: aborting.signal,
    })
    const clients = await Promise.all([joinAs(server.url, 'anna'), joinAs(server.url, 'ben')])
    await reached
    if (way === 'stop') await server.stop()
    else aborting.abort()
    expect((await server.finished).adapter_dir).not.toBeNull()
    await Promise.all(clients.map(({ finished }) => finished))
    expect(await statusOf(server.runDir)).toBe('interrupted')
  })

  test('a client leaves, and the run goes on without it', async () => {
    const server = await EdgeServer.start(configOf({ num_rounds: 3 }))
    const anna = await joinAs(server.url, 'anna', {
      onEvent: (event) => event.kind === 'round-end' && event.round === 1 && void anna.leave(),
    })
    const ben = await joinAs(server.url, 'ben')
    await anna.finished
    const { rounds } = await server.finished
    await ben.finished
    expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2, 3])
    expect(await statusOf(server.runDir)).toBe('complete')
  })

  test('what is aborted already does not start', async () => {
    const signal = AbortSignal.abort(new Error('no more'))
    await expect(EdgeServer.start(configOf({}), { signal })).rejects.toThrow('no more')
    await expect(joinAs('http://127.0.0.1:1', 'anna', { signal })).rejects.toThrow('no more')
  })
})

describe('a client rejects with', () => {
  test('what is wrong with its name, before it connects', async () => {
    await expect(joinAs('http://127.0.0.1:1', '../up')).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      what: '"../up" cannot name a client',
    })
  })

  test('what is wrong with its rows, of which the server hears no word; and the server stops in peace', async () => {
    const server = await EdgeServer.start(configOf({}))
    const bad = await joinAs(server.url, 'anna', { data: [{ text: 'fine' }, { text: '' }] })
    await expect(bad.finished).rejects.toMatchObject({ code: 'DATA_ROW_INVALID', what: expect.stringContaining('anna, row 2') as string })
    await server.stop()
    expect(await readFile(join(server.runDir, 'events.jsonl'), 'utf8')).not.toContain('row 2')
  })

  test('the name of a file of code that only the server named, unless its program names it too', async () => {
    await writeFile(workshop.at('own.mjs'), `export default ${JSON.stringify(rows('own'))}`)
    const server = await EdgeServer.start(configOf({ num_rounds: 1 }, { path: null, dataset: workshop.at('own.mjs') }))
    const join = (id: string, options: Partial<ClientOptions>) =>
      Client.join(server.url, { id, model: workshop.at('model'), engine: 'reference', ...options })
    const refused = await join('anna', { part: { index: 0, count: 2 } })
    await expect(refused.finished).rejects.toMatchObject({ code: 'DATA_NOT_FOUND', what: expect.stringContaining('own.mjs') as string })
    const datasetFile = workshop.at('own.mjs')
    const clients = [await join('anna', { datasetFile }), await join('ben', { datasetFile })]
    await Promise.all([server.finished, ...clients.map(({ finished }) => finished)])
  })
})

test('a strategy written in TypeScript has its types from defineStrategy', () => {
  const halfway = defineStrategy<{ readonly share: number }>({
    name: 'halfway',
    options: { parse: (given) => ({ share: Number((given as { share?: unknown }).share ?? 0.5) }) },
    create: ({ share }) => ({
      selectTrain: (ready, random) => ready.slice(random.below(1)),
      aggregate: (replies, { adapter, average }) => {
        const next = [...average()].map(([name, mean]) => {
          const before = adapter.get(name)!.data
          return [name, { ...mean, data: mean.data.map((x, i) => share * x + (1 - share) * before[i] * replies.length ** 0) }] as const
        })
        return { adapter: new Map(next) }
      },
    }),
  })
  expect(halfway.name).toBe('halfway')
})
