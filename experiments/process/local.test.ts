/**
 * @file A run of the topology `local`, as typed: an adapter for each client, and what other commands make of that.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../shared/config/parse.js'
import { RoundLine, Summary } from '../../shared/run-records.js'
import { commands } from '../command.js'
import { typeForScript, typeCommand } from '../testing/type.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

interface RunData {
  readonly run_dir: string
  readonly adapter_dir: string
  readonly client_adapter_dirs: Record<string, string>
}

const FILES = ['README.md', 'adapter_config.json', 'adapter_model.safetensors']
const IDS = ['client-0', 'client-1']

const home = process.cwd()
let workshop: Workshop
let run: RunData
let rounds: RoundLine[]
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.chdir(workshop.folder)
  await workshop.config('local.yaml', {
    model: { model_name_or_path: 'model', engine: 'reference' },
    split: { topology: 'local' },
    transport: { kind: 'memory' },
  })
  const envelope = await typeForScript<RunData>(commands, 'run', 'local.yaml')
  expect(envelope.error).toBeUndefined()
  run = envelope.data
  const lines = (await readFile(join(run.run_dir, 'metrics', 'rounds.jsonl'), 'utf8')).trimEnd().split('\n')
  rounds = lines.map((line) => RoundLine.parse(JSON.parse(line)))
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

test('each client has a folder of its name in adapter and adapter-best, with a card of its own', async () => {
  expect(run.adapter_dir).toBe(join(run.run_dir, 'adapter'))
  expect(run.client_adapter_dirs).toEqual(Object.fromEntries(IDS.map((id) => [id, join(run.adapter_dir, id)])))
  for (const which of ['adapter', 'adapter-best']) {
    expect((await readdir(join(run.run_dir, which))).sort()).toEqual(IDS)
    for (const id of IDS) {
      expect((await readdir(join(run.run_dir, which, id))).sort()).toEqual(FILES)
      const card = await readFile(join(run.run_dir, which, id, 'README.md'), 'utf8')
      expect(card).toContain(`| Client | ${id} |`)
      expect(card).toContain("Trained on one client's own rows alone")
    }
  }
  const weights = IDS.map((id) => readFile(join(run.adapter_dir, id, 'adapter_model.safetensors')))
  const [first, second] = await Promise.all(weights)
  expect(Buffer.compare(first!, second!)).not.toBe(0)
})

test("a client's best adapter is that of its own lowest held-out loss", async () => {
  for (const id of IDS) {
    const losses = rounds.filter(({ round }) => round > 0).map(({ clients }) => clients.find((client) => client.id === id)!.eval_loss!)
    const card = await readFile(join(run.run_dir, 'adapter-best', id, 'README.md'), 'utf8')
    expect(card).toContain(`| Held-out loss, nats per token | ${Math.min(...losses).toFixed(4)} |`)
    expect(card).toContain(`| Rounds | ${1 + losses.indexOf(Math.min(...losses))} |`)
  }
  const summary = Summary.parse(JSON.parse(await readFile(join(run.run_dir, 'metrics', 'summary.json'), 'utf8')))
  expect(summary).toMatchObject({ status: 'complete', rounds: 2, error: null })
  expect(summary.best!.eval_loss).toBe(Math.min(...rounds.slice(1).map(({ eval_loss }) => eval_loss!)))
})

test('adapters load back: eval takes one of them, and the folder around them is refused with their names', async () => {
  const evaluate = (adapter: string) =>
    typeForScript<{ loss: number }>(
      commands,
      'eval',
      '--model',
      'model',
      '--adapter',
      adapter,
      '--data',
      'rows.jsonl',
      '--engine',
      'reference',
    )
  const losses = await Promise.all(IDS.map(async (id) => (await evaluate(run.client_adapter_dirs[id]!)).data.loss))
  expect(losses[0]).toBeGreaterThan(0)
  expect(losses[0]).not.toBe(losses[1])
  const { error } = await evaluate(run.adapter_dir)
  expect(error).toMatchObject({ code: 'ADAPTER_NOT_FOUND', why: 'it holds 2 of them in folders inside: client-0, client-1' })
  expect(error!.fix).toContain(join(run.adapter_dir, 'client-0'))
  expect(await typeForScript(commands, 'merge', '--model', 'model', '--adapter', run.adapter_dir, 'merged')).toMatchObject({
    error: { code: 'ADAPTER_NOT_FOUND' },
  })
})

test('generate asks whose adapter it is to use', async () => {
  const generate = (...flags: string[]) =>
    typeForScript<{ text: string }>(commands, 'generate', '--prompt', 'row', '--max-new-tokens', '2', '--engine', 'reference', ...flags)
  expect((await generate('--run', 'local')).error).toMatchObject({
    code: 'BAD_ARGUMENT',
    why: 'its topology is local: each of client-0, client-1 has its own',
    fix: 'say whose with --client, such as --client client-0',
  })
  expect((await generate('--run', 'local', '--client', 'client-1')).status).toBe('ok')
  expect((await generate('--run', 'local', '--client', 'eve')).error).toMatchObject({ code: 'BAD_ARGUMENT', fix: 'correct --client' })
  expect((await generate('--model', 'model', '--client', 'client-1')).error).toMatchObject({ code: 'BAD_ARGUMENT' })
})

test('list, inspect and compare show it, and its config reads back', async () => {
  for (const line of [['list'], ['inspect', 'local'], ['inspect', 'local', '--client', 'client-1'], ['compare', 'local', 'local']])
    expect((await typeCommand(commands, ...line)).status, line.join(' ')).toBe(0)
  const { stdout } = await typeCommand(commands, 'run', 'local.yaml', 'federation.num_rounds=1')
  expect(stdout).toContain('(PEFT form: 2 clients, each in a folder of its name)')
  expect(parseConfig(parse(await readFile(join(run.run_dir, 'config.yaml'), 'utf8'))).split.topology).toBe('local')
})
