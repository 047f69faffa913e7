import { afterEach, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import type { HeldBack } from '../shared/protocol/memory-link.js'
import { encodeVarints } from '../shared/protocol/varints.js'
import { activations } from './testing/activations.js'
import { LiveServer, type LiveServerOptions } from './testing/live-server.js'
import { manualClock } from './testing/manual-clock.js'
import { smallConfig, type Groups } from './testing/small-run.js'

const backend = referenceBackend()
let live: LiveServer
afterEach(async () => {
  await live.dispose()
  expect(backend.liveHandles()).toBe(0)
})

async function start(federation: Groups[string], options: Partial<LiveServerOptions> = {}): Promise<LiveServer> {
  const transport = { activation_codec: 'delta+fp32', gradient_codec: 'delta+fp32' }
  live = await LiveServer.start({ config: smallConfig({ transport, federation: { local_steps: 3, ...federation } }), backend, ...options })
  return live
}

describe('what both ends remember of rows', () => {
  test('ends with a process: one that takes its place under the same id begins anew, and the run goes on', async () => {
    await start({ num_clients: 2, num_rounds: 3 })
    live.join(0)
    const first = live.join(1)
    await live.until(() => live.steps.some(({ client }) => client === 'client-1'))
    const second = live.join(1)
    const got: string[] = []
    second.link.onTraffic((_, { type }) => got.push(type))
    await live.server.finished
    expect(await first.ended).toMatchObject({ code: 'CLIENT_ID_IN_USE' })
    expect(await second.ended).toBeNull()
    expect(got).toContain('gradients')
    expect(got).not.toContain('resync')
  })

  test('outlasts steps that a deadline ends before or after the server has them', async () => {
    const clock = manualClock()
    await start({ num_clients: 2, num_rounds: 3, step_deadline_s: 1 }, { clock })
    let held: HeldBack | undefined
    live.join(0)
    const late = live.join(1, {
      onPair: (pair) => (held = pair.hold((message) => message.type === 'activations' && message.round === 1 && message.step === 1)),
    })
    const got: string[] = []
    late.link.onTraffic((_, { type }) => got.push(type))
    await held!.caught
    await live.until(() => live.steps.some(({ client, step }) => client === 'client-0' && step === 1))
    clock.advance(1000)
    held!.release()
    await live.server.finished
    expect(await late.ended).toBeNull()
    expect(got.filter((type) => type === 'dropped')).toHaveLength(1)
    // Three rounds of three steps, one of which was dropped.
    expect(got.filter((type) => type === 'gradients')).toHaveLength(8)
    expect(got).not.toContain('resync')
  })

  test('is asked for again of a client that believes in more than there is, and twice is too often', async () => {
    await start({ num_clients: 1 })
    const bare = live.bare('client-0')
    await bare.send({ type: 'ready', examples: 3, tokens: 3, eval_examples: 0, kept: [] })
    await bare.message('round-start')
    const sent = activations()
    const wrong = { ...sent, hidden: { ...sent.hidden, codec: 'delta+fp32' }, rows: encodeVarints([5, 0, 1, 0]) }
    await bare.send(wrong)
    expect(await bare.message('resync')).toEqual({ type: 'resync', round: 1, attempt: 0, step: 0, micro: 0 })
    await bare.send({ ...wrong, rows: encodeVarints([6, 0, 0, 0]) })
    expect((await bare.message('gradients')).hidden.codec).toBe('delta+fp32')
    const next = { ...wrong, step: 1, rows: encodeVarints([7, 0, 2, 1]) }
    await bare.send(next)
    await bare.message('resync')
    void bare.send({ ...next, rows: encodeVarints([8, 0, 3, 1]) }).catch(() => {})
    expect((await bare.message('error')).error.why).toContain('was to come whole')
    await live.server.stop('enough')
  })
})
