/**
 * @file What a server's port tells those who run it: real HTTP, before and during a real run.
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client, EdgeServer, parseConfig, type Config } from '../index.js'
import { Endpoints } from '../server/operation/endpoints.js'
import { TrafficLine, type RoundLine } from '../shared/run-records.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.env.CUTLAYER_STATE = workshop.at('state')
})
afterAll(() => workshop.remove())

/** Two clients, two rounds of two steps. */
const config = (): Config =>
  parseConfig({
    model: { model_name_or_path: workshop.at('model'), engine: 'reference' },
    lora: { r: 2, target_modules: ['c_attn'] },
    data: { path: workshop.at('rows.jsonl'), max_length: 32 },
    train: { per_device_train_batch_size: 2 },
    federation: { num_clients: 2, num_rounds: 2, local_steps: 2 },
    // Lines of steps are left out; numbers are of all.
    output: { output_dir: workshop.at('runs'), logging_steps: 2 },
  })

const joinAs = (url: string, id: string) =>
  Client.join(url, { id, data: workshop.at('rows.jsonl'), model: workshop.at('model'), engine: 'reference', threads: 1 })

/** Number of a line of metrics. */
function numberIn(metrics: string, series: string): number | null {
  const line = metrics.split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return line === undefined ? null : Number(line.slice(series.length + 1))
}

test('metrics of a run are those of its books', async () => {
  let url = ''
  let metrics = ''
  const rounds: RoundLine[] = []
  const server = await EdgeServer.start(config(), {
    watcher: {
      round: (line) => void rounds.push(line),
      // The round's end waits for this: its steps are made, and its line is not yet told.
      async adapter(round) {
        if (round === 2) metrics = await (await fetch(`${url}/metrics`)).text()
      },
    },
  })
  url = server.url
  expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ready', round: 0, doing: 'gathering' })
  const clients = await Promise.all(['ada', 'ben'].map((id) => joinAs(url, id)))
  await server.finished
  await Promise.all(clients.map(({ finished }) => finished))

  const lines = (await readFile(join(server.runDir, 'traffic.jsonl'), 'utf8')).trimEnd().split('\n')
  const traffic = lines.map((line) => TrafficLine.parse(JSON.parse(line)))
  for (const [direction, kind] of [
    ['up', 'activations'],
    ['down', 'gradients'],
  ]) {
    const booked = traffic.filter((line) => line.direction === direction && line.kind === kind)
    const sum = (key: 'messages' | 'wire_bytes' | 'payload_bytes'): number => booked.reduce((total, line) => total + line[key], 0)
    const told = (name: string): number | null => numberIn(metrics, `cutlayer_${name}_total{direction="${direction}",kind="${kind}"}`)
    expect([told('messages'), told('wire_bytes'), told('payload_bytes')]).toEqual([8, sum('wire_bytes'), sum('payload_bytes')])
  }
  expect(numberIn(metrics, 'cutlayer_steps_total')).toBe(8)
  expect(numberIn(metrics, 'cutlayer_step_seconds_count')).toBe(8)
  expect(numberIn(metrics, 'cutlayer_compute_seconds_count{purpose="train"}')).toBe(8)
  expect(numberIn(metrics, 'cutlayer_queue_seconds_count{purpose="train"}')).toBe(8)
  expect(numberIn(metrics, 'cutlayer_compute_seconds_count{purpose="evaluate"}')).toBeGreaterThan(0)
  expect(numberIn(metrics, 'cutlayer_rounds_total')).toBe(1)
  expect(numberIn(metrics, 'cutlayer_round')).toBe(2)
  expect(numberIn(metrics, 'cutlayer_train_loss')).toBe(rounds[1].train_loss)
  expect(numberIn(metrics, 'cutlayer_eval_loss')).toBe(rounds[1].eval_loss)
  expect(numberIn(metrics, 'cutlayer_events_total{event="join"}')).toBe(2)
  const states = metrics.split('\n').filter((line) => line.startsWith('cutlayer_clients{'))
  expect(states).toHaveLength(5)
  expect(states.reduce((total, line) => total + Number(line.split(' ')[1]), 0)).toBe(2)
})

describe('a server that waits for its clients', () => {
  let server: EdgeServer
  beforeAll(async () => {
    server = await EdgeServer.start(config())
  })
  afterAll(() => server.stop())

  async function ask(path: string, options: { method?: string; headers?: Readonly<Record<string, string>> } = {}) {
    const asked = request(`${server.url}${path}`, options).end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    return { status: response.statusCode, headers: response.headers, body: await text(response) }
  }

  test('is alive', async () => {
    expect(await ask('/healthz')).toMatchObject({ status: 200, body: '{"status":"ok"}\n' })
  })

  test('tells numbers in the form of Prometheus', async () => {
    const { status, headers, body } = await ask('/metrics?of=all')
    expect([status, headers['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8'])
    for (const line of body.trimEnd().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) cutlayer_\w+ .+|cutlayer_\w+(\{[^}]*\})? [\d.e+-]+|)$/)
  })

  test.each([
    ['HEAD', '/metrics', 200],
    ['POST', '/metrics', 405],
    ['GET', '/', 404],
    ['GET', '/metrics/', 404],
  ])('answers %s %s with %i', async (method, path, status) => {
    expect(await ask(path, { method })).toMatchObject({ status, body: '' })
  })

  test('tells nothing to a page that has a name of its own lead here', async () => {
    const { port } = new URL(server.url)
    expect(await ask('/metrics', { headers: { host: `evil.example:${port}` } })).toMatchObject({ status: 403, body: '' })
    expect(await ask('/metrics', { headers: { host: `localhost:${port}` } })).toMatchObject({ status: 200 })
  })

  test.each([
    ['evil.example', 'refused'],
    ['localhost', 'upgraded'],
  ])('connects a page of %s: %s', async (name, expected) => {
    const { port } = new URL(server.url)
    const asked = request(`${server.url}/socket.io/?EIO=4&transport=websocket`, {
      headers: {
        ...{ host: `${name}:${port}`, origin: `http://${name}:${port}`, connection: 'Upgrade', upgrade: 'websocket' },
        ...{ 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' },
      },
    }).end()
    const outcome = await new Promise<string>((resolve) => {
      asked.on('upgrade', (_response, socket) => {
        socket.destroy()
        resolve('upgraded')
      })
      asked.on('response', (response) => {
        response.resume()
        resolve('refused')
      })
    })
    expect(outcome).toBe(expected)
  })
})

test('a server is not ready before its model is there, nor when it is stopped, nor once the run is over', async () => {
  const endpoints = new Endpoints()
  const http = createServer(endpoints.handler).listen(0, '127.0.0.1')
  await once(http, 'listening')
  const ready = async () => {
    const response = await fetch(`http://127.0.0.1:${(http.address() as AddressInfo).port}/readyz`)
    return [response.status, await response.json()]
  }
  endpoints.observer.activity({ doing: 'preparing', round: 0, clients: [] })
  expect(await ready()).toEqual([503, { status: 'starting', doing: 'preparing' }])
  const clients = { loading: 0, waiting: 0, training: 0, evaluating: 0, gone: 0 }
  let doing: 'training' | null = 'training'
  const stop = new AbortController()
  endpoints.opened(() => ({ round: 5, doing, clients, queueLength: 0, inflightBytes: 0 }), stop.signal)
  expect(await ready()).toEqual([200, { status: 'ready', round: 5, doing: 'training' }])
  stop.abort()
  expect(await ready()).toEqual([503, { status: 'stopping', round: 5, doing: 'training' }])
  doing = null
  expect(await ready()).toEqual([503, { status: 'over', round: 5 }])
  http.close()
})
