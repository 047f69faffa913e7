import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createRunDirectory } from '../server/run-directory.js'
import { Config } from '../shared/config/schema.js'
import type { RoundLine, RunGroup, TrafficLine } from '../shared/run-records.js'
import { compareCommand, type Comparison } from './compare.js'
import type { Groups } from './testing/small-run.js'
import { typeCommand, typeForScript } from './testing/type.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-compare-'))
})
afterEach(() => rm(folder, { recursive: true }))

const compare = (...args: string[]) => typeCommand([compareCommand], 'compare', ...args, '--output-dir', folder)

function line(round: number, trainLoss: number | null, evalPerplexity: number): RoundLine {
  const bytes = { uplink_bytes: 1_500_000, downlink_bytes: 1_000_000 }
  const seconds = { compute: 1, wait: 0, network: 0 }
  const counts = { examples: 4, tokens: 90, steps: 10 }
  const client = { id: 'client-0', ...counts, train_loss: trainLoss, eval_loss: null, seconds, ...bytes }
  return {
    ...{ round, attempt: 0, seconds: 20, train_loss: trainLoss, clients: [client], aggregation: null },
    ...{ eval_loss: Math.log(evalPerplexity), eval_perplexity: evalPerplexity, eval_bits_per_byte: 2 },
  }
}

/** A run of two rounds that was better after the first. */
function writeRun(id: string, config: Groups, digest = 'abc', last = 90, group?: RunGroup, cut?: readonly TrafficLine[]): void {
  const model = { name: 'tiny', digest, family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }
  // As if the file had the same content as the model.
  const strategy = config.federation?.strategy === OWN ? { path: OWN, sha256: digest } : null
  const facts = {
    outputDir: folder,
    name: 'exp',
    id,
    metadata: { argv: [], model, ...(group ? { group } : {}), ...(strategy ? { code: { strategy } } : {}) },
    now: new Date('2026-01-01T00:00:00Z'),
  }
  const run = createRunDirectory({ ...facts, config: Config.parse(config) })
  for (const round of [line(0, null, 150), line(1, 4.5, 80), line(2, 4.25, last)]) run.appendRound(round)
  const counts = { rounds: 2, uplink_bytes: 4_500_000, downlink_bytes: 3_000_000, seconds: 60 + last / 10 }
  const ending = { status: 'complete', started: TIME, ended: TIME, before: null, last: null, best: null, error: null } as const
  if (cut) for (const traffic of cut) run.appendTraffic(traffic)
  if (group) run.writeSummary({ ...ending, ...counts })
  run.close()
}
const TIME = '2026-01-01T00:00:00Z'
const OWN = './my-strategy.js'

test('what differs in the configs comes first, then what came out of each run', async () => {
  writeRun('aaaa', {})
  writeRun('bbbb', { train: { learning_rate: 0.01 }, lora: { target_modules: ['c_attn', 'c_fc'] } }, 'abc', 70)
  const { status, stdout } = await compare('aaaa', 'bbbb')
  expect(status).toBe(0)
  expect(stdout).toBe(`differs              aaaa    bbbb
lora.target_modules  null    ["c_attn","c_fc"]
train.learning_rate  0.0005  0.01

id    name  status      rounds  perplexity before   last   best  train loss      up    down        time
aaaa  exp   unfinished       2             150.00  90.00  80.00      4.2500  4.5 MB  3.0 MB  1 min 00 s
bbbb  exp   unfinished       2             150.00  70.00  70.00      4.2500  4.5 MB  3.0 MB  1 min 00 s
`)
})

test('the same, for scripts; a model that was changed in its place is a difference too', async () => {
  writeRun('aaaa', {})
  writeRun('bbbb', {}, 'xyz')
  const { data } = await typeForScript<Comparison>([compareCommand], 'compare', 'aaaa', 'bbbb', 'aaaa', '--output-dir', folder)
  expect(data.differences).toEqual([{ key: 'metadata.model.digest', values: ['abc', 'xyz', 'abc'] }])
  expect(data.runs.map(({ id }) => id)).toEqual(['aaaa', 'bbbb', 'aaaa'])
  expect(data.runs[0]).toMatchObject({ rounds: 2, perplexity_best: 80, uplink_bytes: 4_500_000, downlink_bytes: 3_000_000, seconds: 60 })
})

test('and so is a file of code that was', async () => {
  writeRun('aaaa', { federation: { strategy: OWN } }, 'abc')
  writeRun('bbbb', { federation: { strategy: OWN } }, 'xyz')
  const { data } = await typeForScript<Comparison>([compareCommand], 'compare', 'aaaa', 'bbbb', '--output-dir', folder)
  expect(data.differences.map(({ key }) => key)).toEqual(['metadata.model.digest', 'metadata.code.strategy.sha256'])
})

test('runs of several seeds are named by their group, and come with mean and sample deviation', async () => {
  const seeds = [7, 8]
  writeRun('aaaa', { train: { seed: 7 } }, 'abc', 90, { id: 'seeds-0a1b2c', seeds, index: 0 })
  writeRun('bbbb', { train: { seed: 8 } }, 'abc', 70, { id: 'seeds-0a1b2c', seeds, index: 1 })
  writeRun('cccc', {})
  const { stdout } = await compare('seeds-0a1b2c', 'cccc')
  // Worked out by hand: of 90 and 70, mean 80 and deviation 20 / sqrt 2; best of the runs 80 and 70.
  expect(stdout).toBe(`differs     aaaa  bbbb  cccc
train.seed  7     8     42

id    seed  name  status      rounds  perplexity before   last   best  train loss      up    down        time
aaaa     7  exp   complete         2             150.00  90.00  80.00      4.2500  4.5 MB  3.0 MB  1 min 09 s
bbbb     8  exp   complete         2             150.00  70.00  70.00      4.2500  4.5 MB  3.0 MB  1 min 07 s
cccc     -  exp   unfinished       2             150.00  90.00  80.00      4.2500  4.5 MB  3.0 MB  1 min 00 s

mean ± sample deviation (n - 1) over the complete runs of a group
group         complete  perplexity before           last          best       train loss            up          down              time
seeds-0a1b2c    2 of 2      150.00 ± 0.00  80.00 ± 14.14  75.00 ± 7.07  4.2500 ± 0.0000  4.5 MB ± 0 B  3.0 MB ± 0 B  1 min 08 s ± 1 s
`)
})

test('a group that was cut short has mean and deviation of the runs that it has', async () => {
  const group = { id: 'seeds-0a1b2c', seeds: [7, 8, 9] }
  writeRun('aaaa', { train: { seed: 7 } }, 'abc', 90, { ...group, index: 0 })
  writeRun('bbbb', {})
  const { data } = await typeForScript<Comparison>([compareCommand], 'compare', 'seeds-0a1b2c', 'bbbb', '--output-dir', folder)
  expect(data.groups).toMatchObject([{ complete: 1, mean: { perplexity_last: 90 }, deviation: { perplexity_last: null } }])
})

test('configs without a difference are said to have none', async () => {
  writeRun('aaaa', {})
  writeRun('bbbb', {})
  expect((await compare('aaaa', 'bbbb')).stdout).toMatch(/^the configs are the same\n\nid/)
})

test.each([
  ['one run alone', ['aaaa'], 'only one run is named'],
  ['a run that is not there', ['aaaa', 'cccc'], 'it is no folder, name or id of the one run in'],
])('%s is refused', async (_, runs, why) => {
  writeRun('aaaa', {})
  const { status, stderr } = await compare(...runs)
  expect(status).toBe(5)
  expect(stderr).toContain(why)
})

test('what crossed the cut stands beside what it is as fp32, by direction', async () => {
  const lines = (direction: 'up' | 'down', payload_bytes: number): TrafficLine => ({
    ...{ round: 1, attempt: 0, client: 'client-0', direction, kind: direction === 'up' ? 'activations' : 'gradients', messages: 1 },
    ...{ payload_bytes, wire_bytes: payload_bytes + 1000, fp32_bytes: 2_000_000 },
  })
  writeRun('aaaa', {}, 'abc', 90, undefined, [lines('up', 500_000), lines('down', 400_000)])
  writeRun('bbbb', {})
  const { stdout } = await compare('aaaa', 'bbbb')
  expect(stdout).toContain(`id    at the cut    payload  on the wire  of fp32
aaaa  activations  500.0 kB     501.0 kB    1/4.0
aaaa  gradients    400.0 kB     401.0 kB    1/5.0
`)
  const { data } = await typeForScript<Comparison>([compareCommand], 'compare', 'aaaa', 'bbbb', '--output-dir', folder)
  expect(data.runs.map(({ cut }) => [cut.up.fp32_ratio, cut.down.fp32_ratio])).toEqual([
    [0.25, 0.2],
    [null, null],
  ])
})
