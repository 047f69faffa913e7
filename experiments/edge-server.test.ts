import { afterEach, describe, expect, test } from 'vitest'
import { dataFromRows } from '../client/data.js'
import { referenceBackend } from '../shared/backend/reference.js'
import { UserError } from '../shared/errors.js'
import type { HeldBack } from '../shared/protocol/memory-link.js'
import { activations } from './testing/activations.js'
import { manualClock } from './testing/manual-clock.js'
import { LiveServer, type LiveServerOptions } from './testing/live-server.js'
import { slowly } from './testing/slow-backend.js'
import { smallConfig, smallRows, type Groups } from './testing/small-run.js'

const backend = referenceBackend()
let live: LiveServer
afterEach(async () => {
  await live.dispose()
  expect(backend.liveHandles()).toBe(0)
})

async function start(federation: Groups[string], options: Partial<LiveServerOptions> = {}): Promise<LiveServer> {
  live = await LiveServer.start({ config: smallConfig({ federation: { local_steps: 3, ...federation } }), backend, ...options })
  return live
}

const named = (event: string, client: string) => live.events.find((entry) => entry.event === event && entry.client === client)
const code = (expected: string) => expect.objectContaining({ code: expected })

describe('a client that vanishes', () => {
  test('in the middle of a round is left out of the mean and logged, and the run goes on', async () => {
    await start({ num_clients: 3, num_rounds: 2 })
    const clients = [0, 1, 2].map((index) => live.join(index))
    await live.until(() => live.steps.some(({ client, step }) => client === 'client-2' && step === 0))
    await clients[2].link.close('unplugged')
    await live.server.finished
    expect(await Promise.all(clients.map(({ ended }) => ended))).toEqual([null, null, code('CONNECTION_LOST')])
    expect(named('leave', 'client-2')).toMatchObject({ round: 1, reason: 'unplugged' })
    expect(live.rounds.map(({ aggregation }) => aggregation && [aggregation.replies, aggregation.missing])).toEqual([
      null,
      [2, ['client-2']],
      [2, []],
    ])
  })

  test('after its adapter came in still counts', async () => {
    await start({ num_clients: 2 })
    let held: HeldBack | undefined
    live.join(0, { onPair: (pair) => (held = pair.hold(({ type }) => type === 'adapter')) })
    const second = live.join(1)
    const delivered = new Promise<void>((resolve) => second.link.onTraffic((_, { type }) => type === 'adapter' && resolve()))
    await held!.caught
    await delivered
    await second.link.close('has done its part')
    await live.until(() => named('leave', 'client-1') !== undefined)
    held!.release()
    await live.server.finished
    expect(live.rounds.at(-1)!.aggregation).toMatchObject({ replies: 2, missing: [] })
  })

  test('and leaves too few behind ends the run, and the others hear of it', async () => {
    await start({ num_clients: 2, min_replies: 2 })
    const [first, second] = [live.join(0), live.join(1)]
    await live.until(() => live.steps.length > 0)
    await second.link.close('unplugged')
    await expect(live.server.finished).rejects.toEqual(code('ROUND_FAILED'))
    expect(await first.ended).toEqual(code('ROUND_FAILED'))
    expect(live.events).toContainEqual(
      expect.objectContaining({ event: 'failed', reason: expect.stringContaining('client-1 (unplugged)') }),
    )
  })
})

describe('a client that joins', () => {
  test('late takes part from the next round on', async () => {
    await start({ num_clients: 2, num_rounds: 2, min_available_clients: 1 })
    let held: HeldBack | undefined
    live.join(0, { onPair: (pair) => (held = pair.hold((message) => message.type === 'adapter' && message.round === 1)) })
    await held!.caught
    const late = live.join(1)
    await new Promise<void>((resolve) => late.link.onTraffic((_, { type }) => type === 'ready' && resolve()))
    held!.release()
    await live.server.finished
    expect(live.rounds.map(({ aggregation }) => aggregation?.replies)).toEqual([undefined, 1, 2])
    expect(await late.ended).toBeNull()
  })

  test('with a wrong token is refused, and stands in no book', async () => {
    const lines: string[] = []
    const traffic = { traffic: (all: readonly { client: string }[]) => void lines.push(...all.map(({ client }) => client)) }
    await start({ num_clients: 2, min_available_clients: 1 }, { token: 'right', observer: traffic })
    expect(await live.join(1, { token: 'wrong' }).ended).toEqual(code('TOKEN_REFUSED'))
    expect(named('refused', 'client-1')).toBeDefined()
    live.join(0, { token: 'right' })
    await live.server.finished
    expect(new Set(lines)).toEqual(new Set(['client-0']))
  })

  test('under an id that is taken is refused, and the process that has it goes on', async () => {
    await start({ num_clients: 2, num_rounds: 2 }, { token: 'known to all' })
    const token = 'known to all'
    live.join(0, { token })
    const owner = live.join(1, { token })
    await live.until(() => live.steps.some(({ client }) => client === 'client-1'))
    expect(await live.join(1, { token, secret: 'of a stranger' }).ended).toEqual(code('CLIENT_ID_IN_USE'))
    expect(named('refused', 'client-1')!.reason).toContain('a process under that id is in the run')
    await live.server.finished
    expect(await owner.ended).toBeNull()
    expect(live.rounds.map(({ aggregation }) => aggregation?.missing ?? [])).toEqual([[], [], []])
  })

  test('under the id of one that has left takes its place, whoever it is', async () => {
    await start({ num_clients: 2, num_rounds: 2, min_available_clients: 2 })
    const first = live.bare('client-1')
    await first.message('welcome')
    await first.link.close('it had enough')
    await live.until(() => named('leave', 'client-1') !== undefined)
    live.join(0)
    const second = live.join(1, { secret: 'of a stranger' })
    await live.server.finished
    expect(await second.ended).toBeNull()
  })

  test('anew under an id that is taken, with the same secret, replaces its old process', async () => {
    await start({ num_clients: 2, num_rounds: 2 })
    live.join(0)
    const first = live.join(1)
    await live.until(() => live.steps.some(({ client }) => client === 'client-1'))
    const second = live.join(1)
    expect(await first.ended).toEqual(code('CLIENT_ID_IN_USE'))
    await live.server.finished
    expect(await second.ended).toBeNull()
    expect(live.rounds[1].aggregation!.missing).toEqual(['client-1'])
  })

  test('after the run is over is told so', async () => {
    await start({ num_clients: 1 })
    live.join(0)
    await live.server.finished
    expect(await live.join(0).ended).toBeNull()
  })

  test('without training rows is refused by name', async () => {
    await start({ num_clients: 1 })
    const bare = live.bare('client-0')
    await bare.send({ type: 'ready', examples: 0, tokens: 0, eval_examples: 0, kept: [] })
    expect((await bare.message('error')).error.code).toBe('NO_TRAINING_ROWS')
  })
})

describe('a request', () => {
  test('that is repeated gets the same answer, and is computed once', async () => {
    await start({ num_clients: 1, local_steps: 2 })
    const bare = live.bare('client-0')
    await bare.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [] })
    await bare.message('round-start')
    void bare.send(activations())
    void bare.send(activations())
    const first = await bare.message('gradients')
    await bare.send(activations())
    const second = await bare.message('gradients', 1)
    expect(second).toEqual(first)
    expect(live.steps).toEqual([expect.objectContaining({ client: null, step: 0, tokens: 1 })])
  })

  test('that could spoil the top for others costs its sender its place, and nobody else', async () => {
    await start({ num_clients: 2 })
    const honest = live.join(0)
    const bare = live.bare('client-1')
    await bare.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [] })
    await bare.message('round-start')
    void bare.send(activations({}, NaN))
    expect((await bare.message('error')).error.code).toBe('MESSAGE_INVALID')
    await bare.closed
    await live.server.finished
    expect(await honest.ended).toBeNull()
    expect(live.rounds.at(-1)!.aggregation!.missing).toEqual(['client-1'])
    for (const { data } of live.server.adapter().values()) expect(data.every(Number.isFinite)).toBe(true)
  })

  test('with a normalizer that its step does not have costs its sender its place', async () => {
    await start({ num_clients: 1 })
    const bare = live.bare('client-0')
    await bare.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [] })
    await bare.message('round-start')
    void bare.send(activations({ normalizer: 7 }))
    await expect(live.server.finished).rejects.toEqual(code('ROUND_FAILED'))
    expect(named('refused', 'client-0')!.reason).toContain('a normalizer of 7')
  })
})

test('a step deadline drops who is late, which the client and the log are told', async () => {
  const clock = manualClock()
  await start({ num_clients: 2, step_deadline_s: 1 }, { clock })
  const dropped: number[] = []
  let held: HeldBack | undefined
  live.join(0)
  live.join(1, {
    onPair: (pair) => (held = pair.hold((message) => message.type === 'activations' && message.round === 1 && message.step === 1)),
    onEvent: (event) => event.kind === 'dropped' && dropped.push(event.step),
  })
  await held!.caught
  await live.until(() => live.steps.some(({ client, step }) => client === 'client-0' && step === 1))
  clock.advance(1000)
  held!.release()
  await live.server.finished
  expect(dropped).toEqual([1])
  expect(named('deadline', 'client-1')).toMatchObject({ round: 1, step: 1 })
  expect(live.steps.filter(({ client }) => client === 'client-1').map(({ step }) => step)).toEqual([0, 2])
  expect(live.rounds.at(-1)!.aggregation!.replies).toBe(2)
})

test('a client that is still computing when its round is over takes part in the next', async () => {
  const clock = manualClock()
  await start({ num_clients: 2, num_rounds: 2, round_deadline_s: 1 }, { clock })
  const [computing, slow] = slowly(backend, 'bottom-forward')
  live.join(0)
  const late = live.join(1, { backend: slow.backend })
  await computing
  // Of the joint top's steps client-0 makes only the first before the round's deadline, which then lets it go on alone.
  await live.until(() => live.steps.some(({ client }) => client === 'client-0'))
  clock.advance(1000)
  // The server has gone on: it asks for the evaluation while the client still computes for the round.
  await new Promise<void>((resolve) => late.link.onTraffic((_, message) => message.type === 'evaluate' && message.round === 1 && resolve()))
  slow.goOn()
  await live.server.finished
  expect(await late.ended).toBeNull()
  expect(live.rounds.map(({ aggregation }) => aggregation?.missing)).toEqual([undefined, ['client-1'], []])
})

test('a client that computes through several step deadlines goes on with the step that the server names last', async () => {
  const clock = manualClock()
  await start({ num_clients: 2, local_steps: 5, step_deadline_s: 1 }, { clock })
  const [computing, slow] = slowly(backend, 'bottom-forward')
  live.join(0)
  const late = live.join(1, { backend: slow.backend })
  await computing
  const told = new Promise<void>((resolve) =>
    late.link.onTraffic((_, message) => message.type === 'dropped' && message.step === 1 && resolve()),
  )
  const steps = (id: string) => live.steps.filter(({ client }) => client === id).map(({ step }) => step)
  for (const step of [0, 1]) {
    await live.until(() => steps('client-0').includes(step))
    clock.advance(1000)
  }
  await told
  slow.goOn()
  await live.server.finished
  expect(steps('client-1')).toEqual([2, 3, 4])
  expect(live.rounds.at(-1)!.aggregation!.replies).toBe(2)
})

test('a step without scored tokens is skipped and logged', async () => {
  await start({ num_clients: 2, local_steps: 2 })
  const unscored = smallRows(1).train.map((row) => ({ ...row, scored: new Uint8Array(row.ids.length) }))
  live.join(0)
  live.join(1, {
    data(client, config) {
      const data = dataFromRows(smallRows(1), client, config)
      const empty = dataFromRows({ train: unscored, evaluation: [] }, client, config)
      return { ...data, localStep: (round, step, steps) => (step === 0 ? empty : data).localStep(round, step, steps) }
    },
  })
  await live.server.finished
  expect(named('step-skipped', 'client-1')).toMatchObject({ round: 1, step: 0 })
  expect(live.steps.filter(({ client }) => client === 'client-1').map(({ step }) => step)).toEqual([1])
  expect(live.rounds.at(-1)!.aggregation!.replies).toBe(2)
})

describe('a server', () => {
  test('whose disk is full ends the run with that error, which clients are told', async () => {
    const full = new UserError({ code: 'RUN_DIR_UNWRITABLE', what: 'no room', why: 'the disk is full', fix: 'make room' })
    const observer = {
      step() {
        throw full
      },
    }
    await start({ num_clients: 2 }, { observer })
    const clients = [live.join(0), live.join(1)]
    await expect(live.server.finished).rejects.toBe(full)
    for (const { ended } of clients) expect(await ended).toEqual(code('RUN_DIR_UNWRITABLE'))
  })

  test('that cannot save the adapter ends the run with that error', async () => {
    const full = new UserError({ code: 'RUN_DIR_UNWRITABLE', what: 'no room', why: 'the disk is full', fix: 'make room' })
    await start({ num_clients: 1 }, { observer: { adapter: () => Promise.reject(full) } })
    live.join(0)
    await expect(live.server.finished).rejects.toBe(full)
  })

  test('that is stopped tells its clients, twice as well as once', async () => {
    await start({ num_clients: 1, num_rounds: 1000 })
    const { ended } = live.join(0)
    await live.until(() => live.steps.length > 0)
    const stopped = live.server.stop('it is enough')
    await live.server.stop('again')
    await stopped
    await live.server.finished
    expect(await ended).toBeNull()
    expect(live.events.filter(({ event }) => event === 'end')).toEqual([expect.objectContaining({ reason: 'it is enough' })])
  })
})
