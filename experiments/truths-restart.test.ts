import { isDeepStrictEqual } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { memoryMoments } from '../client/join.js'
import type { MomentsStore } from '../client/round.js'
import { referenceBackend } from '../shared/backend/reference.js'
import type { TrafficLine } from '../shared/run-records.js'
import { LiveServer, type LiveClient } from './testing/live-server.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'

const CLIENTS = 3
const backend = referenceBackend()
let live: LiveServer
afterEach(async () => {
  await live.dispose()
  expect(backend.liveHandles()).toBe(0)
})

/** Whatever is drawn by chance, and a schedule that moves. */
const BASE: Groups = {
  lora: { r: 4, lora_alpha: 8, lora_dropout: 0.3, target_modules: ['c_attn'] },
  train: {
    per_device_train_batch_size: 2,
    gradient_accumulation_steps: 2,
    learning_rate: 0.002,
    lr_scheduler_type: 'cosine',
    warmup_ratio: 0.1,
  },
  federation: { num_rounds: 3, num_clients: CLIENTS, local_steps: 3, fraction_train: 0.7, fraction_evaluate: 0.7, min_train_clients: 2 },
}

interface Ending {
  readonly adapter: unknown
  readonly rounds: unknown
  readonly attempts: readonly number[]
  readonly traffic: readonly TrafficLine[]
}

/**
 * A run in which the client that has just reported this step of this round is gone at once, and back as a new process that has only what it kept on disk.
 * @param losses by `round/step`, each once
 */
async function run(changes: Groups, losses: readonly string[] = []): Promise<Ending> {
  const groups: Groups = { ...BASE, ...changes, federation: { ...BASE.federation, ...changes.federation, on_client_loss: 'restart_round' } }
  const left = new Set(losses)
  const kept: MomentsStore[] = Array.from({ length: CLIENTS }, memoryMoments)
  const clients: LiveClient[] = []
  const traffic: TrafficLine[] = []
  const join = (index: number): void => void (clients[index] = live.join(index, { moments: kept[index] }))
  const lose = async (index: number): Promise<void> => {
    await clients[index].link.close('killed')
    await clients[index].ended
    join(index)
  }
  live = await LiveServer.start({
    config: smallConfig(groups),
    backend,
    observer: {
      step({ round, step, client }) {
        if (client !== null && left.delete(`${round}/${step}`)) void lose(Number(client.slice(-1)))
      },
      // Those who evaluate before training: client 0 is one of them in every run.
      activity({ doing, clients: waiting }) {
        if (doing === 'evaluating' && left.delete('evaluation')) void lose(Number(waiting[0].slice(-1)))
      },
      traffic: (lines) => void traffic.push(...lines),
    },
  })
  for (let index = 0; index < CLIENTS; index++) join(index)
  await live.server.finished
  expect(left.size, 'all the losses took place').toBe(0)
  const rounds = live.rounds.map(({ round, train_loss, eval_loss, clients: parts, aggregation }) => {
    return {
      round,
      train_loss,
      eval_loss,
      parts: parts.map(({ id, steps, tokens, eval_loss }) => ({ id, steps, tokens, eval_loss })),
      aggregation,
    }
  })
  const adapters = Array.from({ length: CLIENTS }, (_, i) => live.server.adapter(groups.split?.topology === 'local' ? `client-${i}` : null))
  return { adapter: adapters, rounds, attempts: live.rounds.map(({ attempt }) => attempt), traffic }
}

describe('a round that starts again because it lost a client ends with the numbers of one that lost nobody', () => {
  test.each([
    ['joint', 'average'],
    ['joint', 'reset'],
    ['sequential', 'keep'],
    ['sequential', 'average'],
    ['replicated', 'keep'],
    ['replicated', 'average'],
  ])('with a %s top and optimizer_state %s', async (top, optimizer_state) => {
    const federation = { top, optimizer_state }
    const calm = await run({ federation })
    const disturbed = await run({ federation }, ['1/0', '2/1', '3/2', 'evaluation'])
    expect(same(disturbed.adapter, calm.adapter)).toBe(true)
    expect(disturbed.rounds).toEqual(calm.rounds)
    expect(calm.attempts).toEqual([0, 0, 0, 0])
    expect(disturbed.attempts).toEqual([0, 1, 1, 1])
    // What the attempts cost that were given up stays in the books, under their own number.
    expect([...new Set(disturbed.traffic.filter(({ round }) => round === 1).map(({ attempt }) => attempt))]).toEqual([0, 1])
    expect(live.events.filter(({ event }) => event === 'restart')).toMatchObject(
      [1, 2, 3].map((round) => ({
        round,
        attempt: 1,
        reason: expect.stringMatching(/client-. was lost: (killed|started again)/) as string,
      })),
    )
  })

  test.each(['federated', 'local'])('in the topology %s', async (topology) => {
    const changes = { split: { topology, cut_layer: undefined }, federation: { optimizer_state: 'keep' } }
    const calm = await run(changes)
    const disturbed = await run(changes, ['1/0', '2/1'])
    expect(same(disturbed.adapter, calm.adapter)).toBe(true)
    expect(disturbed.rounds).toEqual(calm.rounds)
    expect(disturbed.attempts).toEqual([0, 1, 1, 0])
  })

  test('also when the same round is lost again and again', async () => {
    const calm = await run({})
    const disturbed = await run({}, ['2/0', '2/1', '2/2'])
    expect(same(disturbed.adapter, calm.adapter)).toBe(true)
    expect(disturbed.attempts).toEqual([0, 0, 3, 0])
  })
})

test('a client that comes back with other rows is refused by name: the round would not be the same', async () => {
  const groups: Groups = { federation: { num_clients: 2, local_steps: 3, on_client_loss: 'restart_round' } }
  let lose = (): void => {}
  const lost = new Promise<void>((resolve) => (lose = resolve))
  live = await LiveServer.start({ config: smallConfig(groups), backend, observer: { step: () => lose() } })
  const [first] = [live.join(1), live.join(0)]
  await lost
  await first.link.close('killed')
  await first.ended
  expect(await live.join(1, { data: smallData(6)[5] }).ended).toMatchObject({ code: 'DATA_DIFFERS' })
  live.join(1)
  await live.server.finished
  expect(live.rounds.at(-1)).toMatchObject({ round: 1, attempt: 1, aggregation: { replies: 2 } })
})

/** Whether no bit differs; the numbers themselves would tell nobody anything. */
function same(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b)
}
