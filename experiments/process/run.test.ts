/**
 * @file Whole runs by the built program: over sockets and memory, and with server and clients started by hand.
 */
import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { parseConfig } from '../../shared/config/parse.js'
import { EventLine, Metadata, RoundLine, StepLine, Summary, TrafficLine } from '../../shared/run-records.js'
import { packageRoot } from '../../shared/version.node.js'
import { processesOf, startProgram, type Ending, type Program } from '../testing/program.js'
import { linesOf } from '../testing/whole-run.js'
import { openWorkshop, textRows, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

const start = (...args: string[]): Program => startProgram(args, { cwd: workshop.folder, env: workshop.environment })

const Bytes = z.int().nonnegative()
const CutBytes = z.strictObject({ payload_bytes: Bytes, wire_bytes: Bytes, fp32_bytes: Bytes, fp32_ratio: z.number().nullable() })
/** `data` of `run`, key by key. */
const RunData = z.strictObject({
  run_dir: z.string(),
  adapter_dir: z.string(),
  cut: z.strictObject({ up: CutBytes, down: CutBytes }),
  rounds: z.array(
    z.strictObject({
      round: z.int(),
      train_loss: z.number().nullable(),
      eval_loss: z.number(),
      eval_perplexity: z.number(),
      uplink_bytes: Bytes,
      downlink_bytes: Bytes,
      seconds: z.number(),
    }),
  ),
})
type RunData = z.infer<typeof RunData>

/** Every file of a run directory, by path from it. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

const jsonOf = async <Schema extends z.ZodType>(schema: Schema, file: string): Promise<z.infer<Schema>> =>
  schema.parse(JSON.parse(await readFile(file, 'utf8')))

describe('a run over sockets and one over memory', () => {
  let socket: Ending
  let memory: Ending
  let data: RunData
  let other: RunData
  const at = (...parts: string[]): string => join(data.run_dir, ...parts)
  beforeAll(async () => {
    await workshop.config('tiny.yaml')
    socket = await start('run', 'tiny.yaml').ended
    memory = await start('run', 'tiny.yaml', 'transport.kind=memory').ended
    data = RunData.parse(socket.envelope.data)
    other = RunData.parse(memory.envelope.data)
  })

  test('end well, with the envelope that scripts rely on', () => {
    for (const { status, envelope } of [socket, memory]) {
      expect(status).toBe(0)
      expect(envelope).toMatchObject({ schema_version: 1, status: 'ok', exit_code: 0 })
    }
    expect(data.rounds.map(({ round }) => round)).toEqual([0, 1, 2])
    expect(data.rounds.map(({ train_loss }) => train_loss === null)).toEqual([true, false, false])
  })

  test('give the same losses and the same adapter, bit for bit', async () => {
    const withoutTime = ({ rounds }: RunData) => rounds.map(({ round, train_loss, eval_loss }) => ({ round, train_loss, eval_loss }))
    expect(withoutTime(other)).toEqual(withoutTime(data))
    for (const folder of ['adapter', 'adapter-best'])
      for (const file of ['adapter_model.safetensors', 'adapter_config.json', 'README.md'])
        expect(Buffer.compare(await readFile(at(folder, file)), await readFile(join(other.run_dir, folder, file)))).toBe(0)
  })

  test('learn', () => {
    const losses = data.rounds.map(({ eval_loss }) => eval_loss)
    expect(losses[2]).toBeLessThan(losses[0]!)
  })

  test('leave all files of a run directory, and no other', async () => {
    const adapter = (folder: string) => ['README.md', 'adapter_config.json', 'adapter_model.safetensors'].map((file) => join(folder, file))
    const always = ['config.yaml', 'metadata.json', 'events.jsonl', 'traffic.jsonl', 'metrics/rounds.jsonl', 'metrics/steps.jsonl']
    const checkpoint = (round: number) =>
      ['checkpoint.json', 'adapter.safetensors', 'moments.safetensors'].map((file) => `checkpoints/round-${round}/${file}`)
    const adapters = [...adapter('adapter'), ...adapter('adapter-best'), ...checkpoint(1), ...checkpoint(2)]
    const both = [...always, 'metrics/summary.json', 'logs/server.log', ...adapters]
    expect(await filesOf(other.run_dir)).toEqual([...both].sort())
    expect(await filesOf(data.run_dir)).toEqual([...both, 'logs/client-client-0.log', 'logs/client-client-1.log'].sort())
  })

  test('write lines that readers know', async () => {
    const rounds = await linesOf(at('metrics/rounds.jsonl'), RoundLine)
    expect(rounds.map(({ round, attempt }) => [round, attempt])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
    ])
    for (const { round, clients, aggregation, reason } of rounds) {
      expect(clients.map(({ id }) => id)).toEqual(['client-0', 'client-1'])
      expect(aggregation).toEqual(round === 0 ? null : { strategy: 'fedavg', weight_by: 'examples', replies: 2, missing: [] })
      expect(reason).toBeUndefined()
    }
    const steps = await linesOf(at('metrics/steps.jsonl'), StepLine)
    for (const client of ['client-0', 'client-1', null])
      expect(steps.filter((step) => step.client === client).map(({ round, step }) => [round, step])).toEqual([
        [1, 0],
        [1, 1],
        [2, 0],
        [2, 1],
      ])
    const events = await linesOf(at('events.jsonl'), EventLine)
    expect(events.filter(({ event }) => event === 'join')).toHaveLength(2)
    const traffic = await linesOf(at('traffic.jsonl'), TrafficLine)
    const summary = await jsonOf(Summary, at('metrics/summary.json'))
    expect(summary).toMatchObject({ status: 'complete', rounds: 2, error: null })
    for (const [direction, bytes] of [
      ['up', summary.uplink_bytes],
      ['down', summary.downlink_bytes],
    ] as const)
      expect(traffic.filter((line) => line.direction === direction).reduce((sum, line) => sum + line.wire_bytes, 0)).toBe(bytes)
    const metadata = await jsonOf(Metadata, at('metadata.json'))
    expect(metadata).toMatchObject({ argv: ['run', 'tiny.yaml'], model: { family: 'gpt2', layers: 4, hidden_size: 32 } })
    expect(parseConfig(parse(await readFile(at('config.yaml'), 'utf8')))).toMatchObject({ federation: { num_rounds: 2 } })
  })

  test('tell what crossed the cut, and what the same tokens are as fp32, as the books have it', async () => {
    const traffic = await linesOf(at('traffic.jsonl'), TrafficLine)
    for (const [kind, cut] of [
      ['activations', data.cut.up],
      ['gradients', data.cut.down],
    ] as const) {
      const lines = traffic.filter((line) => line.kind === kind)
      for (const key of ['payload_bytes', 'wire_bytes', 'fp32_bytes'] as const)
        expect(lines.reduce((sum, line) => sum + line[key], 0)).toBe(cut[key])
      expect(cut.fp32_ratio).toBe(cut.payload_bytes / cut.fp32_bytes)
    }
    // By fp32, gradients are nothing else; activations have lengths, masks and targets beside them.
    expect(data.cut.down.fp32_ratio).toBe(1)
    expect(data.cut.up.fp32_ratio).toBeGreaterThan(1)
    expect(data.cut.up.fp32_bytes).toBe(data.cut.down.fp32_bytes)
    expect(other.cut).toEqual(data.cut)
  })

  test('count the same bytes of training, whatever carries them', async () => {
    const training = async ({ run_dir }: RunData) =>
      (await linesOf(join(run_dir, 'traffic.jsonl'), TrafficLine)).filter(({ kind }) => kind !== 'control')
    expect(await training(other)).toEqual(await training(data))
  })

  test('leave no process and no token behind', async () => {
    expect(await processesOf(workshop.folder)).toEqual([])
    expect((await readdir(workshop.folder)).filter((name) => name.startsWith('cutlayer-'))).toEqual([])
  })

  test('are listed and inspected, as text and as JSON', async () => {
    const ids = [data, other].map(({ run_dir }) => run_dir.split('_').at(-1)!)
    const listed = await start('list').ended
    expect(listed.envelope.data).toMatchObject({
      runs: ids.map((id) => ({ id, name: 'tiny', status: 'complete', model: 'model', rounds: 2 })),
    })
    const shown = await start('inspect', ids[0]!).ended
    expect(shown.envelope.data).toMatchObject({ run_dir: data.run_dir, status: 'complete', warnings: [] })
    const text = await plain('inspect', ids[0]!, '--round', '2')
    expect(text).toContain(`tiny (${ids[0]}), complete`)
    for (const words of ['train loss', 'client-0', 'client-1', 'activations', 'on the wire']) expect(text).toContain(words)
    const one = await plain('inspect', '--client', 'client-1')
    expect(one).toContain('client client-1, by round')
    expect(await plain('list')).toMatch(new RegExp(`${ids[0]}.*complete\n${ids[1]}.*complete`))
  })
})

/** What a person reads on stdout. */
async function plain(...args: string[]): Promise<string> {
  const command = [join(packageRoot(), 'dist', 'cli.js'), ...args]
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: workshop.folder, env: workshop.environment })
  return stdout
}

test('a server and two clients started by hand do the same job, one of them on its own rows', async () => {
  const secret = 'a-secret-that-must-not-be-told'
  await writeFile(workshop.at('token'), `${secret}\n`)
  await writeFile(workshop.at('own.jsonl'), textRows(6))
  await workshop.config('hand.yaml', { transport: { token_file: 'token' }, output: { output_dir: 'by-hand' } })
  const server = start('server', 'hand.yaml', '--port', '0')
  const { url } = await server.line({ event: 'listening' })
  const join = ['client', '--server', String(url), '--model', 'model', '--token-file', 'token', '--threads', '1']
  const clients = [start(...join, '--id', 'ada'), start(...join, '--id', 'bob', '--data', 'own.jsonl')]
  const { status, envelope } = await server.ended
  expect(status).toBe(0)
  const { rounds, run_dir } = RunData.parse(envelope.data)
  expect(rounds.map(({ round }) => round)).toEqual([0, 1, 2])
  const endings = await Promise.all(clients.map(({ ended }) => ended))
  expect(endings.map((ending) => [ending.status, ending.envelope.data])).toMatchObject([
    [0, { client: 'ada', rounds: 2, steps: 4, examples: 5 }],
    [0, { client: 'bob', rounds: 2, steps: 4, examples: 5 }],
  ])
  for (const file of await filesOf(run_dir)) expect(await readFile(`${run_dir}/${file}`, 'latin1')).not.toContain(secret)
})
