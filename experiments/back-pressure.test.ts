import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import type { ServerLink } from '../shared/protocol/link.js'
import { activations } from './testing/activations.js'
import { overMemory, overSockets, type Connect } from './testing/links.js'
import { LiveServer } from './testing/live-server.js'
import { manualClock } from './testing/manual-clock.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'
import { runTogether, type RunTogether } from './testing/together.js'

const backend = referenceBackend()
afterAll(() => backend.dispose())

/** Of the golden model, whose width is 32: activations as float32, and four numbers beside them. */
const TOKEN_BYTES = 4 * 32 + 16
const LONGEST = 12
const ROWS = 3
const LARGEST = ROWS * LONGEST * TOKEN_BYTES

const limited = (bytes: number, federation: Groups[string] = {}): Groups => ({
  data: { path: 'rows.jsonl', max_length: LONGEST },
  train: { per_device_train_batch_size: ROWS, learning_rate: 0.002, gradient_accumulation_steps: 2 },
  transport: { kind: 'memory', max_inflight_bytes: bytes, max_chunk_bytes: 1024 },
  federation: { num_rounds: 2, num_clients: 4, local_steps: 2, ...federation },
})

/** What a server has granted and not answered, as its links tell. */
class Watched {
  grants = 0
  most = 0
  private readonly offered = new Map<string, number>()
  private readonly granted = new Map<string, number>()

  readonly over =
    (connect: Connect): Connect =>
    (hello, attach) =>
      connect(hello, (link) => attach(this.watch(hello.client, link)))

  private watch(client: string, link: ServerLink): ServerLink {
    return {
      send: (message) => {
        if (message.type === 'grant') {
          this.grants++
          this.granted.set(client, this.offered.get(client)!)
        }
        if (message.type === 'gradients' || message.type === 'loss') this.granted.delete(client)
        this.most = Math.max(
          this.most,
          [...this.granted.values()].reduce((sum, bytes) => sum + bytes, 0),
        )
        return link.send(message)
      },
      onMessage: (listener) =>
        link.onMessage((message) => {
          if (message.type === 'offer') this.offered.set(client, message.tokens * TOKEN_BYTES)
          listener(message)
        }),
      onClose: (listener) => link.onClose(listener),
      onTraffic: (listener) => link.onTraffic(listener),
      close: (reason, error) => link.close(reason, error),
    }
  }
}

function run(bytes: number, federation: Groups[string], connect: Connect): Promise<RunTogether> {
  return runTogether({ config: smallConfig(limited(bytes, federation)), backend, data: smallData(4), connect })
}

function expectSameTraining(actual: RunTogether, expected: RunTogether): void {
  expect(actual.adapter).toEqual(expected.adapter)
  const losses = ({ rounds }: RunTogether): unknown => rounds.map(({ train_loss, eval_loss }) => [train_loss, eval_loss])
  expect(losses(actual)).toEqual(losses(expected))
  const steps = (given: RunTogether): unknown => given.steps.map((line) => JSON.stringify({ ...line, time: null })).sort()
  expect(steps(actual)).toEqual(steps(expected))
}

describe.each(['joint', 'sequential', 'replicated'] as const)('a run with a %s top whose server has little room', (top) => {
  test('trains as one that has room for all, bit for bit, and never takes on more than there is', async () => {
    const free = new Watched()
    const expected = await run(2 ** 20, { top }, free.over(overMemory))
    expect(free.grants).toBe(0)
    const sockets = await overSockets()
    try {
      for (const [limit, connect] of [
        [1024, overMemory],
        [LARGEST, sockets.connect],
        [LARGEST * 2.5, overMemory],
      ] as const) {
        const watched = new Watched()
        expectSameTraining(await run(limit, { top }, watched.over(connect)), expected)
        // Two rounds of two steps of two micro-batches, and three evaluations of a batch, of each client.
        expect(watched.grants).toBe(4 * (2 * 2 * 2 + 3))
        expect(watched.most).toBeLessThanOrEqual(Math.max(limit, LARGEST))
        // More than one at a time, where there is room.
        if (limit > 2 * LARGEST) expect(watched.most).toBeGreaterThan(LARGEST)
      }
    } finally {
      await sockets.close()
    }
  })
})

describe('a server without room', () => {
  let live: LiveServer
  afterEach(async () => {
    await live.dispose()
    expect(backend.liveHandles()).toBe(0)
  })

  async function start(federation: Groups[string] = {}, clock = manualClock()) {
    const config = smallConfig(limited(LARGEST, { num_rounds: 1, num_clients: 2, local_steps: 1, ...federation }))
    live = await LiveServer.start({ config, backend, clock })
    const clients = Array.from({ length: config.federation.num_clients }, (_, index) => live.bare(`client-${index}`))
    for (const client of clients) await client.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [] })
    for (const client of clients) expect(await client.message('round-start')).toMatchObject({ ask_first: true })
    return clients
  }
  const offer = (tokens = ROWS * LONGEST) => ({
    ...{ type: 'offer' as const, round: 1, attempt: 0, step: 0, micro: 0, purpose: 'train' as const, tokens },
  })

  test('lets a client wait, without time running out for it, until the one before it has sent and is computed', async () => {
    const clock = manualClock()
    const [first, second] = await start({}, clock)
    await first.send(offer())
    await first.message('grant')
    await second.send(offer())
    clock.advance(3_600_000)
    expect(second.got.map(({ type }) => type)).not.toContain('grant')
    await first.send(activations({ normalizer: 2 }))
    await first.message('gradients')
    await second.message('grant')
    await second.send(activations({ normalizer: 2 }))
    await second.message('gradients')
  })

  test('gives the room of a client that leaves to the next', async () => {
    const [first, second] = await start()
    await first.send(offer())
    await first.message('grant')
    await second.send(offer())
    await first.link.close('enough')
    await second.message('grant')
  })

  test('gives the room of a client that misses a deadline to those who go on', async () => {
    const clock = manualClock()
    const [first, second, third] = await start({ num_clients: 3, local_steps: 2, step_deadline_s: 1 }, clock)
    for (const micro of [0, 1]) {
      await first.send({ ...offer(2), micro })
      await first.message('grant', micro)
      await first.send(activations({ micro, normalizer: 2 }))
      await first.message('gradients', micro)
    }
    await second.send(offer())
    await second.message('grant')
    await third.send(offer())
    clock.advance(1000)
    expect(await third.message('dropped')).toMatchObject({ step: 0, next_step: 1 })
    await third.send({ ...offer(), step: 1 })
    expect(await third.message('grant')).toMatchObject({ step: 1 })
  })

  test('does not take what it has not granted, or more of it', async () => {
    const [first, second] = await start()
    void first.send(activations()).catch(() => {})
    expect((await first.message('error')).error).toMatchObject({
      code: 'MESSAGE_INVALID',
      why: expect.stringContaining('2 tokens, of 0 that were granted') as string,
    })
    await second.send(offer(1))
    await second.message('grant')
    void second.send(activations()).catch(() => {})
    expect((await second.message('error')).error.why).toContain('2 tokens, of 1 that were granted')
  })

  test('grants nothing that is not awaited', async () => {
    const [first, second] = await start()
    await first.send({ ...offer(), micro: 1 })
    await first.send({ ...offer(), purpose: 'evaluate' })
    await first.send({ ...offer(), round: 2 })
    await second.send(offer())
    await second.message('grant')
    expect(first.got.map(({ type }) => type)).not.toContain('grant')
  })
})
