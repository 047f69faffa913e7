import { afterEach, describe, expect, test } from 'vitest'
import { connect } from '../client/socket.js'
import { helloOf } from '../client/join.js'
import { listen } from '../server/socket.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { DEFAULT_LIMITS } from '../shared/protocol/limits.js'
import { memoryLinkPair } from '../shared/protocol/memory-link.js'
import type { MessageOf } from '../shared/protocol/messages.js'
import type { TrafficLine } from '../shared/run-records.js'
import { activations } from './testing/activations.js'
import { manualClock } from './testing/manual-clock.js'
import { LiveServer, type BareClient, type LiveServerOptions } from './testing/live-server.js'
import { slowly } from './testing/slow-backend.js'
import { smallConfig, type Groups } from './testing/small-run.js'
import { tcpProxy } from './testing/tcp-proxy.js'

const backend = referenceBackend()
let live: LiveServer
afterEach(async () => {
  await live.dispose()
  expect(backend.liveHandles()).toBe(0)
})

async function start(federation: Groups[string], options: Partial<LiveServerOptions> = {}, groups: Groups = {}): Promise<void> {
  const config = smallConfig({ ...groups, federation: { local_steps: 1, ...federation } })
  live = await LiveServer.start({ config, backend, ...options })
}

/** Nothing, of its link. */
const UNMEASURED = { upload: { messages: 0, bytes: 0, seconds: 0 }, round_trip_s: 0 }

const events = (event: string) => live.events.filter((entry) => entry.event === event)
const code = (expected: string) => expect.objectContaining({ code: expected })

/** A client that has said what it holds. */
async function ready(client: string, counts: Partial<MessageOf<'ready'>> = {}): Promise<BareClient> {
  const bare = live.bare(client)
  await bare.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [], ...counts })
  return bare
}

describe('an evaluation', () => {
  test('does not wait for a client that is stuck longer than the round deadline', async () => {
    const clock = manualClock()
    await start({ num_clients: 2, round_deadline_s: 1 }, { clock })
    const stuck = await ready('client-1', { eval_examples: 1 })
    live.join(0)
    await stuck.message('evaluate')
    clock.advance(1000)
    await stuck.message('round-start')
    await stuck.link.close('enough')
    await live.server.finished
    expect(events('deadline')).toContainEqual(expect.objectContaining({ client: 'client-1', round: 0, reason: 'evaluation deadline' }))
    expect(live.rounds.map(({ round }) => round)).toEqual([0, 1])
  })

  test('that nobody has answered leaves no loss, and says why', async () => {
    const clock = manualClock()
    await start({ num_clients: 1, round_deadline_s: 1 }, { clock })
    const stuck = await ready('client-0', { eval_examples: 1 })
    await stuck.message('evaluate')
    clock.advance(1000)
    await stuck.message('round-start')
    expect(live.rounds[0]).toMatchObject({ eval_loss: null, reason: 'eval_loss: no client was in when the evaluation ended' })
  })

  test('takes one batch of a client at a time', async () => {
    const [computing, slow] = slowly(backend, 'top-evaluate')
    await start({ num_clients: 1 }, { backend: slow.backend })
    const hasty = await ready('client-0', { eval_examples: 1 })
    await hasty.message('evaluate')
    const batch = activations({ purpose: 'evaluate', round: 0 })
    await hasty.send(batch)
    await computing
    void hasty.send(batch).catch(() => {})
    void hasty.send({ ...batch, step: 1 }).catch(() => {})
    const { error } = await hasty.message('error')
    slow.goOn()
    expect(error.why).toContain('a held-out batch before')
  })

  test('batch in the middle of training is nobody’s business, and training goes on', async () => {
    await start({ num_clients: 1 })
    const odd = await ready('client-0')
    await odd.message('round-start')
    await odd.send(activations({ purpose: 'evaluate' }))
    await odd.send(activations())
    await odd.message('gradients')
    expect(odd.got.filter(({ type }) => type === 'loss')).toEqual([])
  })

  test('before training is timed from when it begins, not from when the server waits for clients', async () => {
    const clock = manualClock()
    await start({ num_clients: 1 }, { clock })
    clock.advance(60_000)
    live.join(0)
    await live.server.finished
    expect(live.rounds[0].seconds).toBe(0)
  })
})

describe('a client cannot', () => {
  test('divide the micro-batches of one step by different counts', async () => {
    await start({ num_clients: 1 }, {}, { train: { gradient_accumulation_steps: 2 } })
    const cheat = await ready('client-0')
    await cheat.message('round-start')
    void cheat.send(activations({ normalizer: 1 })).catch(() => {})
    void cheat.send(activations({ normalizer: 2, micro: 1 })).catch(() => {})
    expect((await cheat.message('error')).error.why).toContain('normalizers of 1 and 2 in one step')
  })

  test('make the run as long as it likes', async () => {
    await start({ num_clients: 1, local_steps: undefined, local_epochs: 1000 })
    const braggart = await ready('client-0', { examples: Number.MAX_SAFE_INTEGER })
    expect((await braggart.message('error')).error.code).toBe('MESSAGE_INVALID')
  })

  test('fill the books with rounds that are not there', async () => {
    const lines: TrafficLine[] = []
    await start({ num_clients: 1 }, { observer: { traffic: (more) => void lines.push(...more) } })
    const liar = await ready('client-0')
    await liar.message('round-start')
    for (const [round, attempt] of [
      [7, 0],
      [1, 9],
      [0, 9],
    ])
      await liar.send(activations({ round, attempt }))
    await live.server.stop('enough')
    const { messages } = lines.find(({ kind }) => kind === 'activations')!
    expect(messages).toBe(3)
    expect(new Set(lines.map(({ round, attempt }) => `${round}/${attempt}`))).toEqual(new Set(['0/0', '1/0']))
  })

  test('send an adapter of another round, or before its steps are made', async () => {
    await start({ num_clients: 1 })
    const early = await ready('client-0')
    const { adapter } = await early.message('round-start')
    const update = {
      type: 'adapter' as const,
      attempt: 0,
      adapter,
      moments: null,
      steps: 1,
      seconds: { compute: 0, wait: 0, network: 0 },
      ...UNMEASURED,
    }
    for (const round of [0, 1, 2]) await early.send({ ...update, round })
    await early.send(activations())
    await early.message('gradients')
    expect(live.rounds).toHaveLength(1)
    await early.send({ ...update, round: 1 })
    await live.server.finished
    expect(live.rounds[1].aggregation!.replies).toBe(1)
  })

  test('say a thousand things after it was refused', async () => {
    await start({ num_clients: 1 }, { token: 'right' })
    const hello = helloOf({ client: 'x', token: 'guess', part: null, ownData: true, engine: 'none', software: 'test' })
    const { client, server } = memoryLinkPair({ hello })
    live.server.attach(server)
    const closed = new Promise<void>((resolve) => client.onClose(() => resolve()))
    for (let i = 0; i < 1000; i++) client.send({ type: 'heartbeat' }).catch(() => {})
    await closed
    expect(events('refused')).toHaveLength(1)
  })

  test('fill the disk by being refused again and again', async () => {
    await start({ num_clients: 1 }, { token: 'right' })
    const hello = helloOf({ client: 'x', token: 'guess', part: null, ownData: true, engine: 'none', software: 'test' })
    for (let i = 0; i < 1500; i++) expect(() => live.server.screen(hello)).toThrow(code('TOKEN_REFUSED'))
    expect(events('refused')).toHaveLength(1000)
    expect(events('refused').at(-1)!.reason).toContain('no further refusals')
  })
})

test('a connection that breaks and comes back stands in the events, and one that stays away is told once', async () => {
  await start({ num_clients: 1 })
  const limits = { ...DEFAULT_LIMITS, reconnectSeconds: 0.5, heartbeatSeconds: 0.1 }
  const listening = await listen({
    host: '127.0.0.1',
    port: 0,
    clients: 1,
    limits,
    screen: (hello, isBack) => live.server.screen(hello, isBack),
    onLink: (link) => live.server.attach(link),
    onConnection: (client, link, state) => live.server.connectionChanged(client, link, state),
  })
  const proxy = await tcpProxy(listening.port)
  try {
    const hello = helloOf({ client: 'client-0', token: null, part: null, ownData: true, engine: 'none', software: 'test' })
    await connect({ url: `http://127.0.0.1:${proxy.port}`, hello: () => hello })
    await live.until(() => events('join').length === 1)
    proxy.shut()
    await live.until(() => events('connection-lost').length === 1)
    proxy.open()
    await live.until(() => events('retry').length === 1)
    proxy.shut()
    await live.until(() => events('leave').length === 1)
    expect(live.events.map(({ event, client }) => [event, client])).toEqual(
      ['join', 'connection-lost', 'retry', 'connection-lost', 'leave'].map((event) => [event, 'client-0']),
    )
    expect(events('leave')[0].reason).toBe('nothing was heard of it for 0.5 s')
  } finally {
    await proxy.close()
    await listening.close('the test is over')
  }
})
