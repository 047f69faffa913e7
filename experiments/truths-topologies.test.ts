import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { referenceBackend } from '../shared/backend/reference.js'
import { openGolden, relativeError } from '../shared/model/testing/golden.js'
import type { ClientLink } from '../shared/protocol/link.js'
import { decodeTensors } from '../shared/protocol/coded.js'
import type { NamedTensors } from '../shared/tensor.js'
import { scoredTokens } from '../shared/train/rows.js'
import { overSockets } from './testing/links.js'
import { LiveServer } from './testing/live-server.js'
import { smallConfig, smallData, smallRows, type Groups } from './testing/small-run.js'
import { runTogether, type RunTogether } from './testing/together.js'

/** Float32 rounds by up to 6e-8 of a number; this is the bound for what a cut may change. */
const ROUNDING = 1e-6

const backend = referenceBackend()
afterAll(() => backend.dispose())

const run = (changes: Groups) =>
  runTogether({
    config: smallConfig({
      ...changes,
      // Each side clips by its own norm, so clipping alone would tell a split from a whole model.
      train: { max_grad_norm: 0 },
      federation: { num_rounds: 2, num_clients: 3, local_steps: 2, ...changes.federation },
    }),
    backend,
    data: smallData(3),
    start: openGolden('gpt2').adapter,
  })

test('federated clients train as those of a split whose top each has a copy of, and send no activations', async () => {
  const federated = await run({ split: { topology: 'federated' } })
  const replicated = await run({ split: { topology: 'split', cut_layer: 2 }, federation: { top: 'replicated' } })
  expect(federated.activations.size).toBe(0)
  expect(replicated.activations.size).toBe(3 * 2 * 2)
  const losses = ({ steps }: typeof federated): number[] =>
    ['client-0', 'client-1', 'client-2'].flatMap((id) => steps.filter(({ client }) => client === id).map(({ loss }) => loss ?? NaN))
  expect(losses(federated)).toHaveLength(3 * 2 * 2)
  losses(federated).forEach((loss, i) => expect(Math.abs(loss - losses(replicated)[i])).toBeLessThan(ROUNDING * loss))
  for (const [name, { data }] of federated.adapter)
    expect(relativeError(replicated.adapter.get(name)!.data, data), name).toBeLessThan(ROUNDING)
})

test('a federated round evaluates the averaged adapter on every client, and its lines say what was trained', async () => {
  const { rounds, traffic } = await run({ split: { topology: 'federated' } })
  expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2])
  for (const { round, eval_loss, clients, aggregation } of rounds) {
    expect(eval_loss).toBeGreaterThan(0)
    expect(clients.map(({ id }) => id)).toEqual(['client-0', 'client-1', 'client-2'])
    if (round > 0) expect([clients.map(({ steps }) => steps), aggregation?.replies]).toEqual([[2, 2, 2], 3])
  }
  expect([...new Set(traffic.map(({ kind }) => kind))].sort()).toEqual(['adapter', 'control', 'evaluation'])
})

describe('local', () => {
  const IDS = ['client-0', 'client-1', 'client-2']
  /** Clients hold 7, 9 and 11 rows, so their epochs are of 3, 3 and 4 steps, and only their own schedules reach their ends. */
  const EPOCHS: Groups = {
    lora: { lora_dropout: 0.2 },
    train: { lr_scheduler_type: 'linear', warmup_ratio: 0.2 },
    federation: { num_rounds: 3, num_clients: 3, local_steps: null, local_epochs: 1 },
  }
  const config = (topology: string, changes: Groups = {}) =>
    smallConfig({
      lora: { r: 4, lora_alpha: 8, target_modules: ['c_attn'], ...EPOCHS.lora },
      train: { per_device_train_batch_size: 3, learning_rate: 0.002, ...EPOCHS.train },
      split: { topology },
      federation: { ...EPOCHS.federation, ...changes.federation },
    })
  const stepsOf = ({ steps }: Pick<RunTogether, 'steps'>, id: string) => steps.filter(({ client }) => client === id)
  const evaluationsOf = ({ rounds }: Pick<RunTogether, 'rounds'>, id: string) =>
    rounds.map(({ clients }) => clients.find((client) => client.id === id)?.eval_loss)

  let local: RunTogether
  beforeAll(async () => {
    local = await runTogether({ config: config('local'), backend, data: smallData(3) })
  })

  test.each(IDS)('%s gets what it would get in a run of its own, bit for bit', async (id) => {
    const alone = await runTogether({
      config: config('federated', { federation: { num_clients: 1 } }),
      backend,
      data: [smallData(3)[IDS.indexOf(id)]],
      ids: [id],
    })
    expect(stepsOf(local, id)).toEqual(alone.steps)
    expect(stepsOf(local, id).at(-1)!.lr).toBeGreaterThan(0)
    expect(evaluationsOf(local, id)).toEqual(evaluationsOf(alone, id))
    expect(local.adapterOf(id)).toEqual(alone.adapter)
    expect(local.adapterOf(id)).not.toEqual(local.adapter)
  })

  test.each(['reset', 'keep'])("moments that are '%s' are so for each by itself", async (optimizer_state) => {
    const changes = { federation: { optimizer_state, num_rounds: 2 } }
    const together = await runTogether({ config: config('local', changes), backend, data: smallData(3) })
    const alone = await runTogether({
      config: config('federated', { federation: { ...changes.federation, num_clients: 1 } }),
      backend,
      data: [smallData(3)[1]],
      ids: ['client-1'],
    })
    expect(together.adapterOf('client-1')).toEqual(alone.adapter)
    const kept = await runTogether({ config: config('local', { federation: { num_rounds: 2 } }), backend, data: smallData(3) })
    if (optimizer_state === 'keep') expect(together.adapterOf('client-1')).toEqual(kept.adapterOf('client-1'))
    else expect(together.adapterOf('client-1')).not.toEqual(kept.adapterOf('client-1'))
  })

  test('is the same over sockets as over memory, bit for bit', async () => {
    const sockets = await overSockets()
    try {
      const again = await runTogether({ config: config('local'), backend, data: smallData(3), connect: sockets.connect })
      for (const id of IDS) {
        expect(stepsOf(again, id)).toEqual(stepsOf(local, id))
        expect(again.adapterOf(id)).toEqual(local.adapterOf(id))
      }
    } finally {
      await sockets.close()
    }
  })

  test("evaluates each client's own adapter: a round's loss is theirs, weighted by scored tokens; nothing was merged", () => {
    expect(local.rounds).toHaveLength(4)
    for (const { round, clients, eval_loss, aggregation } of local.rounds) {
      const tokens = clients.map(({ id }) => scoredTokensHeldOut(IDS.indexOf(id)))
      const total = tokens.reduce((a, b) => a + b, 0)
      const mean = clients.reduce((sum, { eval_loss: own }, i) => sum + (tokens[i] / total) * own!, 0)
      expect(Math.abs(eval_loss! - mean)).toBeLessThan(1e-12)
      expect(aggregation).toEqual(round === 0 ? null : { strategy: 'none', weight_by: 'none', replies: 3, missing: [] })
    }
    expect(local.activations.size).toBe(0)
  })

  test('a client that misses a round goes on with its own last adapter and moments', async () => {
    // Round 3 waits for both.
    const three = { federation: { num_rounds: 3, num_clients: 2, local_steps: 2, local_epochs: null, min_train_clients: 2 } }
    const starts = new Map<string, NamedTensors[]>()
    const ends = new Map<string, NamedTensors[]>()
    const noted = (notes: Map<string, NamedTensors[]>, id: string): NamedTensors[] => {
      if (!notes.has(id)) notes.set(id, [])
      return notes.get(id)!
    }
    const live = await LiveServer.start({
      config: config('local', three),
      backend,
      observer: { adapter: (_, adapter, client) => void noted(ends, client!).push(adapter) },
    })
    try {
      // It leaves as it hears of round 2, and comes back as a new process before that round is over.
      let hold: { release(): void } | null = null
      const watch = (id: string, link: ClientLink): void =>
        link.onTraffic((_, message) => {
          if (message.type === 'round-start') noted(starts, id).push(decodeTensors(message.adapter))
        })
      live.join(0, {
        onPair: (pair) => (hold = pair.hold(({ type, ...rest }) => type === 'adapter' && 'round' in rest && rest.round === 2)),
      })
      const leaver = live.join(1, {
        onEvent: (event) => {
          if (event.kind === 'round' && event.round === 2) void leaver.link.close('gone')
        },
      })
      watch('client-1', leaver.link)
      await live.until(() => live.events.some(({ event, round }) => event === 'leave' && round === 2))
      const back = live.join(1)
      watch('client-1', back.link)
      await live.until(() => live.events.filter(({ event }) => event === 'join').length === 3)
      hold!.release()
      await live.server.finished
      expect(live.rounds.map(({ aggregation }) => aggregation?.missing)).toEqual([undefined, [], ['client-1'], []])
      // Rounds 1, 2 (which it left) and 3.
      const [first, second, third] = starts.get('client-1')!
      expect(second).toEqual(ends.get('client-1')![0])
      expect(third).toEqual(second)
      expect(second).not.toEqual(first)
      expect(ends.get('client-1')).toHaveLength(2)
      expect(live.server.adapter('client-1')).toEqual(ends.get('client-1')!.at(-1))
    } finally {
      await live.dispose()
    }
  })
})

function scoredTokensHeldOut(client: number): number {
  return smallRows(client).evaluation.reduce((sum, row) => sum + scoredTokens(row), 0)
}
