import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createRunDirectory } from '../server/run-directory.js'
import { Config } from '../shared/config/schema.js'
import type { RoundLine } from '../shared/run-records.js'
import { commands } from './command.js'
import { typeCommand, type Typed } from './testing/type.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-command-'))
  vi.stubEnv('LC_ALL', 'C.UTF-8')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

const type = (...args: string[]): Promise<Typed> => typeCommand(commands, ...args)

const envelope = (stdout: string): unknown => JSON.parse(stdout.trimEnd().split('\n').at(-1)!)

const client = (id: string, trainLoss: number | null) => ({
  id,
  examples: 40,
  tokens: 900,
  steps: 10,
  train_loss: trainLoss,
  eval_loss: 4,
  seconds: { compute: 1, wait: 2, network: 0.5 },
  uplink_bytes: 1_500_000,
  downlink_bytes: 1_200_000,
})

/** Of a client whose link chose how activations are packed. */
const CODECS = {
  activations: {
    codec: 'int8',
    auto: {
      reason: 'the least coarse with which transfers do not dominate',
      ...{ measured_round: 0, bytes_per_s: 1_000_000, step_s: 2, transfer_s: 0.25 },
    },
  },
  gradients: { codec: 'fp16' },
}

function line(round: number, trainLoss: number | null, evalLoss: number, clients: RoundLine['clients']): RoundLine {
  return {
    round,
    attempt: 0,
    train_loss: trainLoss,
    eval_loss: evalLoss,
    eval_perplexity: Math.exp(evalLoss),
    eval_bits_per_byte: 2,
    seconds: 65,
    clients,
    aggregation: round === 0 ? null : { strategy: 'fedavg', weight_by: 'examples', replies: clients.length, missing: ['client-2'] },
  }
}

function writeRun(): void {
  const model = { name: 'tiny', digest: 'abc', family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }
  const now = new Date('2026-01-01T00:00:00Z')
  const run = createRunDirectory({
    outputDir: folder,
    name: 'exp',
    id: 'aaaa',
    config: Config.parse({}),
    metadata: { argv: [], model },
    now,
  })
  run.appendRound(line(0, null, 5, []))
  run.appendRound(line(1, 4.5, 4.25, [{ ...client('client-0', 4.5), codecs: CODECS }, client('client-1', null)]))
  for (const id of ['client-0', 'client-1']) {
    const traffic = {
      round: 1,
      attempt: 0,
      client: id,
      direction: 'up',
      kind: 'activations',
      messages: 10,
      payload_bytes: 700_000,
      wire_bytes: 750_000,
      fp32_bytes: 2_800_000,
    } as const
    run.appendTraffic(traffic)
  }
  run.close()
}

describe('inspect', () => {
  test('shows rounds, the clients of the last round, and traffic by kind', async () => {
    writeRun()
    const { status, stdout } = await type('inspect', '--output-dir', folder)
    expect(status).toBe(0)
    expect(stdout.replace(folder, 'RUNS')).toBe(`exp (aaaa), unfinished
RUNS/20260101-000000_exp_aaaa
started 2026-01-01T00:00:00.000Z, model tiny

round  train loss  eval loss  perplexity        time      up    down  replies  missing
    0           -     5.0000      148.41  1 min 05 s     0 B     0 B        -
    1      4.5000     4.2500       70.11  1 min 05 s  3.0 MB  2.4 MB        2  client-2

clients in round 1
client    examples  tokens  steps  train loss  eval loss  compute s  wait s  network s      up    down
client-0        40     900     10      4.5000     4.0000        1.0     2.0        0.5  1.5 MB  1.2 MB
client-1        40     900     10           -     4.0000        1.0     2.0        0.5  1.5 MB  1.2 MB

           rounds 0 to 1   first    last  lowest  highest
eval loss  █▁             5.0000  4.2500  4.2500   5.0000

traffic
kind         direction  messages  payload  on the wire  payload of fp32
activations  up               20   1.4 MB       1.5 MB            1/4.0

at the cut
client    tensors      codec   payload  on the wire  as fp32  payload of fp32  auto
client-0  activations  int8   700.0 kB     750.0 kB   2.8 MB            1/4.0  the least coarse with which transfers do not dominate (round 0: 1.0 MB/s, 0.250 s beside steps of 2.000 s)
client-1  activations  -      700.0 kB     750.0 kB   2.8 MB            1/4.0
`)
  })

  test('shows one client alone, round by round', async () => {
    writeRun()
    const { stdout } = await type('inspect', 'aaaa', '--client', 'client-0', '--output-dir', folder)
    expect(stdout.slice(stdout.indexOf('\n\n') + 2)).toBe(`client client-0, by round
round  examples  tokens  steps  train loss  eval loss  compute s  wait s  network s      up    down
    1        40     900     10      4.5000     4.0000        1.0     2.0        0.5  1.5 MB  1.2 MB

traffic
kind         direction  messages   payload  on the wire  payload of fp32
activations  up               10  700.0 kB     750.0 kB            1/4.0

at the cut
round  tensors      codec   payload  on the wire  as fp32  payload of fp32  auto
    1  activations  int8   700.0 kB     750.0 kB   2.8 MB            1/4.0  the least coarse with which transfers do not dominate (round 0: 1.0 MB/s, 0.250 s beside steps of 2.000 s)
`)
  })

  test('gives one client, and one round, as JSON', async () => {
    writeRun()
    const { stdout } = await type('inspect', 'aaaa', '--round', '1', '--client', 'client-0', '--output-dir', folder, '--format', 'json')
    expect(envelope(stdout)).toMatchObject({
      status: 'ok',
      data: {
        id: 'aaaa',
        rounds: [{ round: 1, clients: [{ id: 'client-0' }] }],
        traffic: [{ kind: 'activations', direction: 'up', messages: 10, payload_bytes: 700_000, wire_bytes: 750_000, fp32_ratio: 0.25 }],
        cut: [
          {
            ...{
              client: 'client-0',
              kind: 'activations',
              payload_bytes: 700_000,
              wire_bytes: 750_000,
              fp32_bytes: 2_800_000,
              fp32_ratio: 0.25,
            },
            rounds: [{ round: 1, payload_bytes: 700_000, fp32_ratio: 0.25, codec: 'int8', auto: CODECS.activations.auto }],
          },
        ],
      },
    })
  })

  test.each([
    [['--round', '7'], 'its rounds are 0 to 1'],
    [['--client', 'client-9'], 'its clients are client-0, client-1'],
  ])('refuses %j, and says what there is', async (flags, why) => {
    writeRun()
    const { status, stderr } = await type('inspect', ...flags, '--output-dir', folder)
    expect(status).toBe(5)
    expect(stderr).toContain(why)
  })
})

describe('list', () => {
  test('shows each run at a glance', async () => {
    writeRun()
    const { stdout } = await type('list', '--output-dir', folder)
    expect(stdout).toBe(`id    name  started              model  rounds  perplexity before   last  status
aaaa  exp   2026-01-01 00:00:00  tiny        1             148.41  70.11  unfinished
`)
  })

  test('says so where there is none', async () => {
    expect(await type('list', '--output-dir', folder)).toEqual({ status: 0, stdout: `no runs in ${folder}\n`, stderr: '' })
  })
})

describe('validate', () => {
  const FOUR_ROWS = '{"prompt": "a", "completion": "b"}\n'.repeat(4)
  const warningsOf = async (...args: string[]): Promise<string[]> => {
    const { stdout } = await type('validate', ...args, '--format', 'json')
    return (envelope(stdout) as { data: { warnings: string[] } }).data.warnings
  }
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text)
    return join(folder, name)
  }

  test('passes a config whose rows keep their prompts to themselves, without a word', async () => {
    const rows = await file('rows.jsonl', FOUR_ROWS)
    const path = await file('good.yaml', `data:\n  path: ${rows}\n`)
    expect(await type('validate', path)).toEqual({
      status: 0,
      stdout: `${path} is valid
model     cutlayer-shipped: 6 blocks, 2 on each of 4 clients, 4 on the server
adapter   rank 8 on 6 linear layers, 24,576 parameters
data      ${rows}, rows of at most 256 tokens, divided by client: natural if rows name their client, else iid
training  5 rounds of 10 local steps, batches of 4, learning rate 0.0005
`,
      stderr: '',
    })
  })

  test.each([
    ['split.cut_layer=0', /table look-up/],
    ['data.completion_only_loss=false', /completion_only_loss is false/],
    ['train.learning_rate=0', /nothing will be learned/],
    ['data.eval_fraction=0', /nothing will be evaluated/],
    ['transport.token_file=nowhere', /there is no .*nowhere$/],
    ['transport.gradient_codec={ada: int8}', /gradient_codec names ada, and `cutlayer run` starts client-0 to client-3/],
  ])('warns of %s', async (override, warning) => {
    const rows = await file('rows.jsonl', FOUR_ROWS)
    const path = await file('good.yaml', `data:\n  path: ${rows}\n`)
    expect(await warningsOf(path, override)).toEqual([expect.stringMatching(warning)])
  })

  test('warns where the rows are plain text', async () => {
    const path = await file('text.yaml', `data: {path: ${await file('rows.jsonl', '{"text": "a"}\n'.repeat(4))}}`)
    expect(await warningsOf(path)).toEqual([expect.stringMatching(/plain text/)])
  })

  test.each([
    ['split.cut_layer=7', 'CUT_OUT_OF_RANGE'],
    ['lora.target_modules=[q_proj]', 'TARGET_MATCHES_NOTHING'],
    ['data.max_length=100000', 'CONFIG_VALUE'],
    ['model.model_name_or_path=nowhere', 'MODEL_NOT_FOUND'],
    ['federation.num_clients=5', 'NO_TRAINING_ROWS'],
  ])('refuses %s, as a run would', async (override, code) => {
    const path = await file('good.yaml', `data:\n  path: ${await file('rows.jsonl', FOUR_ROWS)}\n`)
    const { status, stdout } = await type('validate', path, override, '--format', 'json')
    expect(envelope(stdout)).toMatchObject({ status: 'error', error: { code } })
    expect(status).toBeGreaterThan(0)
  })

  test('only warns of rows that lie elsewhere', async () => {
    const path = await file('good.yaml', `data:\n  path: ${join(folder, 'elsewhere.jsonl')}\n`)
    expect(await warningsOf(path)).toEqual([expect.stringMatching(/there is no .*elsewhere\.jsonl$/)])
  })

  test('refuses a wrong config', async () => {
    const { status, stderr } = await type('validate', await file('bad.yaml', 'learning_rate: 1\n'))
    expect(status).toBe(5)
    expect(stderr).toContain('fix:   did you mean train.learning_rate?')
  })
})
