/**
 * @file Plans against what runs really took.
 */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { loadConfig } from '../../shared/config/load.node.js'
import type { TrafficLine } from '../../shared/run-records.js'
import { commands } from '../command.js'
import { runExperiment } from '../experiment.js'
import { readRun } from '../runs.js'
import type { Groups } from '../testing/small-run.js'
import { typeCommand, typeForScript } from '../testing/type.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'
import type { RoundPlan } from './plan.js'
import type { PlanData } from './text.js'
import { sumTraffic, type Traffic } from './wire.js'

let workshop: Workshop
let home: string
beforeAll(async () => {
  workshop = await openWorkshop()
  home = process.cwd()
  process.chdir(workshop.folder)
  vi.stubEnv('CUTLAYER_CACHE', workshop.at('cache'))
  vi.stubEnv('CUTLAYER_STATE', workshop.at('state'))
})
afterAll(async () => {
  process.chdir(home)
  vi.unstubAllEnvs()
  await workshop.remove()
})

const MEMORY: Groups = { model: { model_name_or_path: 'model', engine: 'reference' }, transport: { kind: 'memory' } }

const SHORT_OF_ROOM: Groups = { transport: { max_inflight_bytes: 8192, max_chunk_bytes: 1024 }, train: { optim: 'sgd' } }

/** Of all clients, by kind and direction, in an order that does not depend on who sent first. */
function byKind(lines: readonly Traffic[]): Traffic[] {
  const key = ({ kind, direction }: Traffic): string => `${kind} ${direction}`
  return sumTraffic(lines).sort((a, b) => (key(a) < key(b) ? -1 : 1))
}

const exact = (lines: readonly Traffic[]) => byKind(lines).map(({ wire_bytes: _, ...counts }) => counts)

describe('the bytes of a plan are those of the run', () => {
  test.each<[string, Groups]>([
    ['split, averaged moments', { federation: { num_rounds: 3 }, split: { cut_layer: 2 } }],
    [
      'fp16, accumulation, completions',
      {
        transport: { activation_codec: 'fp16', gradient_codec: 'fp16' },
        train: { gradient_accumulation_steps: 2 },
        federation: { optimizer_state: 'keep' },
      },
    ],
    [
      'chunks, local epochs, sgd',
      { transport: { max_chunk_bytes: 1024 }, train: { optim: 'sgd' }, federation: { local_steps: null, local_epochs: 2 } },
    ],
    [
      'evaluation of some batches in some rounds',
      { federation: { num_rounds: 3, optimizer_state: 'reset' }, eval: { every_rounds: 2, max_eval_batches: 1 } },
    ],
    ['offers where room is short', SHORT_OF_ROOM],
    [
      'codecs by client',
      {
        transport: {
          activation_codec: { default: 'fp16', 'client-1': 'int8' },
          gradient_codec: { default: 'int4', 'client-0': 'int4:group=8' },
        },
        federation: { num_clients: 3 },
      },
    ],
    ['federated', { split: { topology: 'federated' } }],
    ['centralized', { split: { topology: 'centralized' } }],
    ['local', { split: { topology: 'local' } }],
  ])('%s', async (_, changes) => {
    const groups = Object.fromEntries(
      ['model', 'split', 'train', 'federation', 'transport', 'eval'].map((group) => [group, { ...MEMORY[group], ...changes[group] }]),
    )
    const small = {
      train: { per_device_train_batch_size: 2, ...groups.train },
      federation: { num_rounds: 2, num_clients: 2, local_steps: 2, ...groups.federation },
    }
    const path = await workshop.config('plan.yaml', { ...groups, ...small })
    const { run_dir } = await runExperiment(await loadConfig(path))
    const { traffic } = await readRun({ folder: run_dir, name: '', id: '', stamp: '' })
    const { data } = await typeForScript<PlanData>(commands, 'plan', path)
    expect(data.tokens).toMatchObject({ source: 'rows', is_exact: true, reason: null })
    const rounds = [...new Set(traffic.map(({ round }) => round))].sort()
    expect(data.counted.map(({ round }) => round)).toEqual(rounds)
    for (const planned of data.counted) expectTraffic(planned, traffic)
    expectClose(data.total_traffic, traffic)
  })
})

function expectTraffic({ round, traffic }: RoundPlan, lines: readonly TrafficLine[]): void {
  const real = lines.filter((line) => line.round === round)
  expect(exact(traffic), `round ${round}`).toEqual(exact(real))
  expectClose(traffic, real)
}

/** Within 2%, by kind and direction. */
function expectClose(planned: readonly Traffic[], real: readonly Traffic[]): void {
  const reals = byKind(real)
  for (const [index, { kind, direction, wire_bytes }] of byKind(planned).entries()) {
    const share = wire_bytes / reals[index]!.wire_bytes
    expect(Math.abs(share - 1), `${kind} ${direction}: ${wire_bytes} for ${reals[index]!.wire_bytes}`).toBeLessThan(0.02)
  }
}

describe('a plan', () => {
  test("counts parameters and the adapter's bytes as the run has them", async () => {
    const path = await workshop.config('plan.yaml', MEMORY)
    const { data } = await typeForScript<PlanData>(commands, 'plan', path)
    const { run_dir, adapter_dir } = await runExperiment(await loadConfig(path))
    const metadata = JSON.parse(await readFile(join(run_dir, 'metadata.json'), 'utf8')) as { model: { parameters: number } }
    expect(data.model.parameters).toBe(metadata.model.parameters)
    const file = await readFile(join(adapter_dir!, 'adapter_model.safetensors'))
    const tensorBytes = file.length - 8 - Number(file.readBigUInt64LE(0))
    expect([data.adapter.client_bytes + data.adapter.server_bytes, 4 * data.adapter.parameters]).toEqual([tensorBytes, tensorBytes])
  })

  test('counts an offer and a grant for each micro-batch where the server has no room for those of all clients', async () => {
    const control = async (transport: Groups[string] = {}): Promise<number> => {
      const groups = { ...MEMORY, ...SHORT_OF_ROOM, federation: { num_clients: 2, num_rounds: 1, local_steps: 2, fraction_evaluate: 0 } }
      const path = await workshop.config('room.yaml', { ...groups, transport: { ...MEMORY.transport, ...transport } })
      const { data } = await typeForScript<PlanData>(commands, 'plan', path)
      return data.total_traffic.filter(({ kind }) => kind === 'control').reduce((sum, { messages }) => sum + messages, 0)
    }
    expect(await control(SHORT_OF_ROOM.transport)).toBe((await control()) + 2 * 2 * 2)
  })

  test('counts what codecs remember on each end, at most, and the numbers of rows that messages then name', async () => {
    const planned = async (transport: Groups[string]): Promise<PlanData> => {
      const groups = { ...MEMORY, federation: { num_clients: 3 }, transport: { ...MEMORY.transport, ...transport } }
      return (await typeForScript<PlanData>(commands, 'plan', await workshop.config('rows.yaml', groups))).data
    }
    const remembered = ({ memory }: PlanData): (number | undefined)[] =>
      [memory.client, memory.server].map(({ terms }) => terms.find(({ name }) => name === 'row_memory')?.bytes)
    const cap = { codec_cache_bytes: 1000 }
    expect(remembered(await planned({ ...cap, activation_codec: 'int8' }))).toEqual([undefined, undefined])
    // Who encodes remembers what feedback makes up for: the client of activations, the server of gradients.
    const feedback = await planned({ ...cap, activation_codec: 'feedback+int8', gradient_codec: 'feedback+int8' })
    expect(remembered(feedback)).toEqual([1000, 3000])
    const both = await planned({ ...cap, activation_codec: 'lowrank+int8', gradient_codec: 'delta+int8' })
    expect(remembered(both)).toEqual([2000, 6000])
    const payload = ({ total_traffic }: PlanData, kind: string): number => total_traffic.find((line) => line.kind === kind)!.payload_bytes
    for (const kind of ['activations', 'gradients'])
      expect(payload(both, kind)).toBeGreaterThan(payload(await planned({ activation_codec: 'int8', gradient_codec: 'int8' }), kind))
  })

  test('counts each client by its own codecs, and what its link is to choose by the safest', async () => {
    const planned = async (transport: Groups[string]): Promise<PlanData> => {
      const groups = {
        ...MEMORY,
        federation: { num_clients: 4 },
        transport: { ...MEMORY.transport, codec_cache_bytes: 1000, ...transport },
      }
      return (await typeForScript<PlanData>(commands, 'plan', await workshop.config('clients.yaml', groups))).data
    }
    const cutBytes = ({ total_traffic }: PlanData): number =>
      total_traffic.flatMap(({ kind, payload_bytes }) => (kind === 'activations' ? [payload_bytes] : [])).reduce((a, b) => a + b, 0)
    const all = cutBytes(await planned({ activation_codec: { default: 'fp16' } }))
    const one = cutBytes(await planned({ activation_codec: { default: 'fp32', 'client-2': 'fp16' } }))
    expect(one).toBeGreaterThan(all)
    expect(one).toBeLessThan(cutBytes(await planned({ activation_codec: 'fp32' })))
    expect(cutBytes(await planned({ activation_codec: 'auto' }))).toBe(all)
    // One of four remembers rows: on its own end, and on the server's.
    const { memory } = await planned({ activation_codec: { default: 'int8', 'client-3': 'delta+int8' } })
    expect([memory.client, memory.server].map(({ terms }) => terms.find(({ name }) => name === 'row_memory')?.bytes)).toEqual([1000, 1000])
  })

  test('needs no more of the model than config.json, and says what it then cannot know', async () => {
    await mkdir(workshop.at('bare'))
    await cp(workshop.at('model/config.json'), workshop.at('bare/config.json'))
    const path = await workshop.config('bare.yaml', {
      model: { model_name_or_path: 'bare', engine: 'reference' },
      train: { per_device_train_batch_size: 3 },
    })
    const { data } = await typeForScript<PlanData>(commands, 'plan', path)
    // 3 rows of data.max_length = 32 tokens.
    expect(data.tokens).toMatchObject({
      source: 'bound',
      per_step: 96,
      is_exact: false,
      reason: expect.stringContaining('tokenizer') as string,
    })
    const { stdout } = await typeCommand(commands, 'plan', path)
    expect(stdout).toContain('at most: every row as long as data.max_length, because the tokenizer of the model is not here')
  })

  test('finds config.json of a hub model in the cache, and says what to do where it is not', async () => {
    const commit = 'a'.repeat(40)
    const repository = workshop.at('hub/models--some--model')
    await mkdir(join(repository, 'snapshots', commit), { recursive: true })
    await mkdir(join(repository, 'refs'))
    await cp(workshop.at('model/config.json'), join(repository, 'snapshots', commit, 'config.json'))
    vi.stubEnv('HF_HUB_CACHE', workshop.at('hub'))
    const path = await workshop.config('hub.yaml', { model: { model_name_or_path: 'some/model', engine: 'reference' } })
    const missing = await typeForScript(commands, 'plan', path)
    expect(missing.error).toMatchObject({ code: 'MODEL_NOT_FOUND', why: expect.stringContaining('HF_HUB_OFFLINE is set') as string })
    await writeFile(join(repository, 'refs/main'), commit)
    expect((await typeForScript<PlanData>(commands, 'plan', path)).data.model.name).toBe('some/model')
  })

  test.each([
    [['split.cut_layer=9'], 'CUT_OUT_OF_RANGE'],
    [['--bandwidth', 'fast'], 'BAD_ARGUMENT'],
    [['data.path=nowhere.jsonl', 'federation.local_epochs=1', 'federation.local_steps=null'], 'CONFIG_VALUE'],
  ])('refuses %j', async (more, code) => {
    const path = await workshop.config('plan.yaml', MEMORY)
    expect((await typeForScript(commands, 'plan', path, ...more)).error?.code).toBe(code)
  })
})
