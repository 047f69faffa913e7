/**
 * @file A run that goes on from the checkpoint of any of its rounds ends with the numbers of the run that wrote it, bit for bit.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memoryMoments } from '../client/join.js'
import type { MomentsStore } from '../client/round.js'
import { readCheckpoint } from '../server/checkpoint/read.js'
import { writeCheckpoint } from '../server/checkpoint/write.js'
import type { ResumeFrom } from '../server/resume-from.js'
import type { SavedState } from '../server/saved-state.js'
import type { Strategy } from '../server/strategy/strategy.js'
import { fedAvg } from '../server/strategy/fedavg.js'
import { referenceBackend } from '../shared/backend/reference.js'
import type { RoundLine, TrafficLine } from '../shared/run-records.js'
import { f32, type NamedTensors } from '../shared/tensor.js'
import { LiveServer } from './testing/live-server.js'
import { smallConfig, smallData, type Groups } from './testing/small-run.js'

const CLIENTS = 3
const ROUNDS = 3
const backend = referenceBackend()

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'cutlayer-resume-'))
})
afterAll(async () => {
  await rm(root, { recursive: true })
  expect(backend.liveHandles()).toBe(0)
})

/** Whatever is drawn by chance, and a schedule that moves. */
const BASE: Groups = {
  lora: { r: 4, lora_alpha: 8, lora_dropout: 0.3, target_modules: ['c_attn'] },
  train: {
    per_device_train_batch_size: 2,
    learning_rate: 0.002,
    lr_scheduler_type: 'cosine',
    warmup_ratio: 0.1,
  },
  federation: {
    num_rounds: ROUNDS,
    num_clients: CLIENTS,
    local_steps: 2,
    fraction_train: 0.7,
    fraction_evaluate: 0.7,
    min_train_clients: 2,
  },
}

type Setup = { readonly start?: NamedTensors; readonly strategy?: Strategy }

interface Ending {
  readonly adapters: readonly NamedTensors[]
  readonly rounds: readonly RoundLine[]
  readonly traffic: readonly TrafficLine[]
  /** Whether each client's data and moments were as they were to be. */
  readonly events: readonly string[]
}

/** @param folder gets a checkpoint of each round */
async function run(groups: Groups, setup: Setup, kept: readonly MomentsStore[], folder: string, resume?: ResumeFrom): Promise<Ending> {
  const traffic: TrafficLine[] = []
  const save = (state: SavedState): Promise<void> =>
    writeCheckpoint(folder, {
      cutlayer: 'test',
      modelDigest: '',
      strategy: '',
      state,
      record: { best: [], bytes: { up: 0, down: 0 }, cut: NO_CUT },
      bestAdapters: new Map(),
    })
  const live = await LiveServer.start({
    config: smallConfig(groups),
    backend,
    setup: { ...setup, resume, checkpoints: { save, keptSince: () => 1 } },
    observer: { traffic: (lines) => void traffic.push(...lines) },
  })
  try {
    for (let index = 0; index < CLIENTS; index++) live.join(index, { moments: kept[index]! })
    await live.server.finished
    const whose = groups.split?.topology === 'local' ? Array.from({ length: CLIENTS }, (_, index) => `client-${index}`) : [null]
    return {
      adapters: whose.map((client) => live.server.adapter(client)),
      rounds: live.rounds,
      traffic,
      events: live.events.map(({ event }) => event),
    }
  } finally {
    await live.dispose()
  }
}

const NO_BYTES = { payload_bytes: 0, wire_bytes: 0, fp32_bytes: 0, fp32_ratio: null }
const NO_CUT = { up: NO_BYTES, down: NO_BYTES }

let folders = 0
async function expectSameFromAnyRound(changes: Groups, setup: Setup = {}): Promise<void> {
  const groups: Groups = {
    ...BASE,
    ...changes,
    train: { ...BASE.train, ...changes.train },
    federation: { ...BASE.federation, ...changes.federation },
  }
  const kept = Array.from({ length: CLIENTS }, withoutEnd)
  const folder = join(root, String(folders++))
  const whole = await run(groups, setup, kept, folder)
  expect(whole.rounds).toHaveLength(ROUNDS + 1)
  for (let round = 1; round < ROUNDS; round++) {
    const { state: saved } = await readCheckpoint(folder, round)
    const again = await run(groups, setup, kept, join(root, String(folders++)), { saved, attempts: new Map([[round + 1, 2]]) })
    expect(isDeepStrictEqual(again.adapters, whole.adapters), `the adapters of a run that goes on behind round ${round}`).toBe(true)
    expect(again.rounds.map(numbers)).toEqual(whole.rounds.slice(round + 1).map(numbers))
    expect(again.rounds.map(({ attempt }) => attempt)).toEqual(again.rounds.map((_, index) => (index === 0 ? 2 : 0)))
    // Of the round behind which it goes on the traffic was not written yet; nothing is written twice.
    expect([...new Set(again.traffic.map((line) => line.round))]).toEqual(
      Array.from({ length: ROUNDS - round + 1 }, (_, index) => round + index),
    )
    expect(again.events).not.toContain('state-missing')
  }
}

/** A client's state folder outlives the run here: it goes on several times. */
function withoutEnd(): MomentsStore {
  return { ...memoryMoments(), clear: async () => {} }
}

function numbers({ round, train_loss, eval_loss, clients, aggregation }: RoundLine): unknown {
  return {
    round,
    train_loss,
    eval_loss,
    aggregation,
    clients: clients.map(({ seconds: _, uplink_bytes: _up, downlink_bytes: _down, ...own }) => own),
  }
}

describe('a run that goes on from a checkpoint has the numbers of one that was never interrupted', () => {
  const tops = ['joint', 'sequential', 'replicated'].flatMap((top) =>
    ['average', 'reset', 'keep'].map((optimizer_state): [string, string] => [top, optimizer_state]),
  )
  test.each(tops)('with a %s top and optimizer_state %s', (top, optimizer_state) =>
    expectSameFromAnyRound({ federation: { top, optimizer_state, on_client_loss: 'restart_round' } }),
  )

  const topologies = ['federated', 'centralized', 'local'].flatMap((topology) =>
    ['average', 'keep'].map((optimizer_state): [string, string] => [topology, optimizer_state]),
  )
  test.each(topologies)('in the topology %s with optimizer_state %s', async (topology, optimizer_state) => {
    const alone = topology === 'centralized' ? { min_train_clients: 1 } : {}
    await expectSameFromAnyRound({ split: { topology }, federation: { optimizer_state, ...alone } })
  })

  test.each([0, 4])('with the cut at %i, where one side has nothing to train', (cut_layer) =>
    expectSameFromAnyRound({ split: { cut_layer } }),
  )

  test('with rounds as long as an epoch', () => expectSameFromAnyRound({ federation: { local_steps: undefined, local_epochs: 1 } }))

  test.each(['federated', 'local'])('without AdamW, whose moments clients would keep, in the topology %s', (topology) =>
    expectSameFromAnyRound({
      split: { topology },
      train: { optim: 'sgd' },
      federation: { optimizer_state: 'keep', on_client_loss: 'restart_round' },
    }),
  )

  test('with several micro-batches in a step', () => expectSameFromAnyRound({ train: { gradient_accumulation_steps: 2 } }))

  test('with lossy codecs, whose rounding is drawn by chance', () =>
    expectSameFromAnyRound({ transport: { kind: 'memory', activation_codec: 'int4', gradient_codec: 'int8' } }))

  test('with a strategy that remembers something', () => expectSameFromAnyRound({}, { strategy: momentum }))

  test('from another adapter', async () => {
    const folder = join(root, String(folders++))
    const { adapters } = await run(
      { ...BASE, federation: { ...BASE.federation, num_rounds: 1 } },
      {},
      Array.from({ length: CLIENTS }, withoutEnd),
      folder,
    )
    await expectSameFromAnyRound({}, { start: adapters[0]! })
  })
})

/** Goes half of the last way on. */
const momentum: Strategy = {
  ...fedAvg({ fractionTrain: 0.7, fractionEvaluate: 1, minTrain: 2 }),
  name: 'momentum',
  aggregate(_, { adapter, state, average, random }) {
    const target = average()
    const noise = 1e-4 * random.uniform()
    const way = new Map(
      [...adapter].map(([name, { shape, data }]) => {
        const before = state?.get(name)?.data
        return [
          name,
          f32(
            shape,
            data.map((value, i) => noise + target.get(name)!.data[i]! - value + 0.5 * (before?.[i] ?? 0)),
          ),
        ]
      }),
    )
    const next = new Map(
      [...adapter].map(([name, { shape, data }]) => [
        name,
        f32(
          shape,
          data.map((value, i) => value + way.get(name)!.data[i]!),
        ),
      ]),
    )
    return { adapter: next, state: way }
  },
}

describe('a client that comes back to a run that goes on', () => {
  const groups: Groups = { ...BASE, federation: { ...BASE.federation, optimizer_state: 'keep', fraction_train: 1, num_rounds: 2 } }
  const before = async (changes: Groups): Promise<{ saved: SavedState; folder: string }> => {
    const folder = join(root, String(folders++))
    await run({ ...groups, ...changes }, {}, Array.from({ length: CLIENTS }, withoutEnd), folder)
    return { saved: (await readCheckpoint(folder, 1)).state, folder }
  }

  test('without the moments that it was to keep begins with empty ones, and the run says so', async () => {
    const { saved, folder } = await before({})
    const again = await run(groups, {}, Array.from({ length: CLIENTS }, withoutEnd), folder, { saved, attempts: new Map() })
    expect(again.events.filter((event) => event === 'state-missing')).toHaveLength(CLIENTS)
    expect(again.rounds).toHaveLength(1)
  })

  test('without them under restart_round is told that it cannot', async () => {
    const { saved } = await before({})
    const config = smallConfig({ ...groups, federation: { ...groups.federation, on_client_loss: 'restart_round' } })
    const live = await LiveServer.start({ config, backend, setup: { resume: { saved, attempts: new Map() } } })
    expect(await live.join(0).ended).toMatchObject({ code: 'CLIENT_STATE_MISSING', why: expect.stringContaining('round 1') as string })
    await live.dispose()
  })

  test('with other rows is told so by name, and one that is new is not', async () => {
    const { saved } = await before({})
    const known = { ...saved, members: saved.members.filter(({ id }) => id !== 'client-2') }
    const config = smallConfig({ ...groups, federation: { ...groups.federation, min_available_clients: 1 } })
    const live = await LiveServer.start({ config, backend, setup: { resume: { saved: known, attempts: new Map() } } })
    const other = live.join(0, { data: smallData(2)[1]! })
    expect(await other.ended).toMatchObject({
      code: 'DATA_DIFFERS',
      why: expect.stringMatching(/has 9 training rows .* and had 7/) as string,
    })
    live.join(2)
    await live.until(() => live.events.some(({ event, client }) => event === 'join' && client === 'client-2'))
    expect(live.events.filter(({ event }) => event === 'refused')).toHaveLength(1)
    await live.dispose()
  })

  test('has the part of the data that it had, whoever comes first', async () => {
    const { saved } = await before({})
    const parts = saved.members.map((member, index) => ({ ...member, part: { index, count: CLIENTS } }))
    const live = await LiveServer.start({
      config: smallConfig(groups),
      backend,
      setup: { resume: { saved: { ...saved, members: parts }, attempts: new Map() } },
    })
    const last = live.bare('client-2')
    expect((await last.message('welcome')).part).toEqual({ index: 2, count: CLIENTS })
    await live.dispose()
  })
})
