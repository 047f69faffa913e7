import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../shared/config/parse.js'
import { clientConfigOf, Config } from '../shared/config/schema.js'
import { fromFloat32 } from '../shared/model/dtype.js'
import { parseSafetensors, serializeSafetensors } from '../shared/model/safetensors.js'
import { goldenFile } from '../shared/model/testing/golden.js'
import { commands as serverCommands } from '../server/command.js'
import { commands } from './command.js'
import { runExperiment } from './experiment.js'
import { withChanges, type Groups } from './testing/small-run.js'
import { typeCommand, typeForScript } from './testing/type.js'
import { openWorkshop, textRows, type Workshop } from './testing/workshop.js'

interface RunData {
  readonly run_dir: string
  readonly adapter_dir: string
  readonly rounds: readonly { readonly eval_loss: number }[]
}

const home = process.cwd()
let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.chdir(workshop.folder)
  await writeFile('held-out.jsonl', textRows(5))
  await cp(goldenFile('gpt2', 'adapter'), 'from-peft', { recursive: true })
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

/** Of one client on the reference engine, with rows of its own to evaluate, that starts from what PEFT wrote. */
const WARM: Groups = {
  model: { model_name_or_path: 'model', engine: 'reference' },
  lora: { init_from: 'from-peft' },
  data: { path: 'rows.jsonl', eval_path: 'held-out.jsonl', max_length: 32 },
  federation: { num_clients: 1, num_rounds: 1, local_steps: 1 },
  transport: { kind: 'memory' },
}
const config = async (changes: Groups = {}): Promise<string> => {
  await writeFile('warm.yaml', JSON.stringify(withChanges(WARM, changes)))
  return 'warm.yaml'
}
const run = async (changes: Groups = {}) => typeForScript<RunData>(commands, 'run', await config(changes))
const evaluate = async (adapter: string): Promise<number> => {
  const args = ['--model', 'model', '--adapter', adapter, '--data', 'held-out.jsonl', '--max-length', '32', '--engine', 'reference']
  return (await typeForScript<{ loss: number }>(commands, 'eval', ...args)).data.loss
}

describe('a run that starts from a folder that PEFT wrote', () => {
  test.each([
    ['split', 2],
    ['split', 0],
    ['federated', 2],
  ])('begins, in topology %s at cut %i, with the loss that eval finds, and goes on from there', async (topology, cut_layer) => {
    const { data } = await run({ split: { topology, cut_layer } })
    const expected = await evaluate('from-peft')
    // Float32 at the cut, float64 elsewhere.
    expect(Math.abs(data.rounds[0]!.eval_loss / expected - 1)).toBeLessThan(1e-6)
    expect(data.rounds[1]!.eval_loss).not.toBe(data.rounds[0]!.eval_loss)
    const after = await evaluate(data.adapter_dir)
    expect(Math.abs(data.rounds[1]!.eval_loss / after - 1)).toBeLessThan(1e-6)
  })

  test('takes rank, alpha and target modules from it, and its own config says so', async () => {
    const { data } = await run()
    const written = parseConfig(parse(await readFile(join(data.run_dir, 'config.yaml'), 'utf8')))
    // As shared/model/golden/gpt2/adapter/adapter_config.json has them; the defaults would be 8, 16 and null.
    expect(written.lora).toMatchObject({ r: 4, lora_alpha: 8, target_modules: ['c_attn'], use_rslora: false, init_from: 'from-peft' })
    const saved = JSON.parse(await readFile(join(data.adapter_dir, 'adapter_config.json'), 'utf8')) as object
    expect(saved).toMatchObject({ r: 4, lora_alpha: 8, target_modules: ['c_attn'] })
    expect(await readFile(join(data.adapter_dir, 'README.md'), 'utf8')).toContain('started from another adapter')
    const again = await typeForScript<RunData>(commands, 'run', join(data.run_dir, 'config.yaml'))
    expect(again.data.rounds.map(({ eval_loss }) => eval_loss)).toEqual(data.rounds.map(({ eval_loss }) => eval_loss))
    const weights = [data, again.data].map(({ adapter_dir }) => readFile(join(adapter_dir, 'adapter_model.safetensors')))
    const [first, second] = await Promise.all(weights)
    expect(Buffer.compare(first!, second!), 'the same config gives the same bits').toBe(0)
  })

  test.each(['gpt2-patterns', 'gpt2-layers', 'gpt2-exclude', 'gpt2-all-linear'])('of any ranks, alphas and layers: %s', async (name) => {
    const { data } = await run({ lora: { init_from: goldenFile('adapters', name) } })
    const expected = await evaluate(goldenFile('adapters', name))
    expect(Math.abs(data.rounds[0]!.eval_loss / expected - 1)).toBeLessThan(1e-6)
    expect(Math.abs(data.rounds[1]!.eval_loss / (await evaluate(data.adapter_dir)) - 1)).toBeLessThan(1e-6)
    const shapes = async (folder: string): Promise<Map<string, readonly number[]>> => {
      const { tensors } = parseSafetensors(await readFile(join(folder, 'adapter_model.safetensors')), { name, code: 'ADAPTER_CORRUPT' })
      return new Map([...tensors].map(([key, { shape }]) => [key, shape]))
    }
    expect(await shapes(data.adapter_dir)).toEqual(await shapes(goldenFile('adapters', name)))
    const again = await typeForScript<RunData>(commands, 'validate', join(data.run_dir, 'config.yaml'))
    expect(again.error).toBeUndefined()
  })

  test('may go on from the adapter of a run, one round after the other', async () => {
    const { data: first } = await run()
    const { data: second } = await run({ lora: { init_from: first.adapter_dir } })
    expect(second.rounds[0]!.eval_loss).toBeCloseTo(first.rounds[1]!.eval_loss, 12)
  })

  test('may say what the folder says too, and name its modules otherwise', async () => {
    const said = { r: 4, lora_alpha: 8, use_rslora: false, target_modules: ['attn.c_attn'] }
    expect((await run({ lora: { ...WARM.lora, ...said } })).error).toBeUndefined()
  })

  test('starts every client of the topology local from it', async () => {
    const { data } = await run({ split: { topology: 'local' }, federation: { num_clients: 2, num_rounds: 1, local_steps: 1 } })
    expect(Math.abs(data.rounds[0]!.eval_loss / (await evaluate('from-peft')) - 1)).toBeLessThan(1e-6)
  })

  test('is told of patterns that match nothing', async () => {
    await config({
      lora: { init_from: null, target_modules: ['c_attn'], rank_pattern: { q_proj: 2 }, alpha_pattern: { 'h.9.*': 2, c_attn: 4 } },
    })
    const words = ['lora.rank_pattern has q_proj, which matches none', 'lora.alpha_pattern has h.9.*, which matches none']
    const { stdout } = await typeCommand(commands, 'validate', 'warm.yaml')
    for (const part of words) expect(stdout).toContain(`warning: ${part}`)
    expect(stdout.match(/warning: lora\./g)).toHaveLength(2)
    const { data } = await typeForScript<RunData>(commands, 'run', 'warm.yaml')
    const events = await readFile(join(data.run_dir, 'events.jsonl'), 'utf8')
    for (const part of words) expect(events).toContain(part)
  })

  test('is validated, and told where init_lora_weights has no effect', async () => {
    const { stdout } = await typeCommand(commands, 'validate', await config())
    expect(stdout).toContain('adapter   rank 4 on 4 linear layers, 2,048 parameters, from from-peft')
    expect(stdout).not.toContain('init_lora_weights')
    await config({ lora: { ...WARM.lora, init_lora_weights: 'gaussian' } })
    const words = 'lora.init_lora_weights is gaussian, which has no effect: the adapter starts as it is in from-peft'
    expect((await typeCommand(commands, 'validate', 'warm.yaml')).stdout).toContain(`warning: ${words}`)
    const { data } = await typeForScript<RunData>(commands, 'run', 'warm.yaml')
    expect(await readFile(join(data.run_dir, 'events.jsonl'), 'utf8')).toContain(words)
  })
})

test("no client hears of the server's folder", () => {
  expect(clientConfigOf(Config.parse({ lora: { init_from: '/home/ada/secret' } })).lora.init_from).toBeNull()
})

test('a program that did not read the folder is told both values, too', async () => {
  const own = parseConfig({ ...WARM, output: { output_dir: 'own' } })
  await expect(runExperiment(own)).rejects.toMatchObject({
    code: 'CONFIG_VALUE',
    why: 'it says 8, and the adapter of from-peft has 4',
  })
  expect(await readdir('.')).not.toContain('own')
})

describe('a run is not started, and nothing is written, from a folder', () => {
  beforeEach(async () => {
    await rm('broken', { recursive: true, force: true })
    await cp('from-peft', 'broken', { recursive: true })
  })

  const editConfig = async (changes: object): Promise<void> => {
    const file = join('broken', 'adapter_config.json')
    await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as object), ...changes }))
  }
  /** Fills the tensors that are meant with one value. */
  const fill = async (value: number, isMeant: (name: string) => boolean): Promise<void> => {
    const file = join('broken', 'adapter_model.safetensors')
    const { tensors } = parseSafetensors(await readFile(file), { name: file, code: 'ADAPTER_CORRUPT' })
    const changed = [...tensors].map(([name, { shape, bytes }]) => {
      const [rows, columns] = shape as [number, number]
      // PEFT wrote F32.
      const filled = isMeant(name) ? fromFloat32(new Float32Array(rows * columns).fill(value), 'F32') : bytes
      return [name, { dtype: 'F32', shape, bytes: filled }] as const
    })
    await writeFile(file, serializeSafetensors(new Map(changed), { format: 'pt' }))
  }
  const nothing = async (): Promise<void> => {}

  test.each<[string, () => Promise<void>, Groups[string], string, string, string]>([
    ['that is not there', () => rm('broken', { recursive: true }), {}, 'ADAPTER_NOT_FOUND', 'broken', ''],
    [
      'without weights',
      () => rm('broken/adapter_model.safetensors'),
      {},
      'ADAPTER_NOT_FOUND',
      'adapter_model.safetensors',
      'whole adapter',
    ],
    ['with no weights in the file', () => writeFile('broken/adapter_model.safetensors', ''), {}, 'ADAPTER_CORRUPT', 'adapter_model', ''],
    [
      'with weights of which there are none',
      () => writeFile('broken/adapter_model.safetensors', serializeSafetensors(new Map(), { format: 'pt' })),
      {},
      'ADAPTER_MISMATCH',
      '8 tensors are missing',
      'base model',
    ],
    ['whose config is cut off', () => writeFile('broken/adapter_config.json', '{"r": '), {}, 'ADAPTER_CORRUPT', 'adapter_config.json', ''],
    ['of another rank than its weights', () => editConfig({ r: 2 }), {}, 'ADAPTER_MISMATCH', '8 tensors have another shape', 'rank'],
    [
      'of another model',
      () => editConfig({ target_modules: ['q_proj'] }),
      {},
      'ADAPTER_MISMATCH',
      'layers that the model does not have',
      'base model',
    ],
    ['of something else than LoRA', () => editConfig({ peft_type: 'IA3' }), {}, 'ADAPTER_UNSUPPORTED', 'peft_type', 'plain LoRA'],
    ['whose alpha is zero', () => editConfig({ lora_alpha: 0 }), {}, 'ADAPTER_UNSUPPORTED', 'its lora_alpha is 0', 'fresh one'],
    [
      'with an alpha that is zero',
      () => editConfig({ alpha_pattern: { c_attn: 0 } }),
      {},
      'ADAPTER_UNSUPPORTED',
      'alpha_pattern has 0 for c_attn',
      'fresh one',
    ],
    [
      'with a pattern that is not read',
      () => editConfig({ target_modules: '(?i)C_ATTN' }),
      {},
      'ADAPTER_UNSUPPORTED',
      'inline flag',
      'plain LoRA',
    ],
    [
      'with a rank that contradicts its tensors',
      () => editConfig({ rank_pattern: { 'h.2.attn.c_attn': 2 } }),
      {},
      'ADAPTER_MISMATCH',
      'h.2.attn.c_attn.lora_A.weight is [4, 32] where [2, 32] is needed',
      'rank',
    ],
    [
      'of other ranks',
      nothing,
      { rank_pattern: { 'h.0.attn.c_attn': 2 } },
      'CONFIG_VALUE',
      'it says {"h.0.attn.c_attn":2}, and the adapter of ./broken has {}',
      'leave out lora.rank_pattern',
    ],
    ['of other alphas', nothing, { alpha_pattern: { c_attn: 2 } }, 'CONFIG_VALUE', '{"c_attn":2}', 'leave out lora.alpha_pattern'],
    ['that is zero', () => fill(0, () => true), {}, 'ADAPTER_UNSUPPORTED', 'zero in all of it', 'fresh one'],
    [
      'with numbers that are none',
      () => fill(NaN, (name) => name.includes('h.1.')),
      {},
      'ADAPTER_CORRUPT',
      'h.1.attn.c_attn.lora_A',
      'diverged',
    ],
    [
      'of another rank than the config says',
      nothing,
      { r: 8 },
      'CONFIG_VALUE',
      'it says 8, and the adapter of ./broken has 4',
      'leave out lora.r',
    ],
    [
      'of another alpha',
      nothing,
      { lora_alpha: 16 },
      'CONFIG_VALUE',
      'it says 16, and the adapter of ./broken has 8',
      'leave out lora.lora_alpha',
    ],
    [
      'of another scale',
      nothing,
      { use_rslora: true },
      'CONFIG_VALUE',
      'it says true, and the adapter of ./broken has false',
      'lora.use_rslora',
    ],
    [
      'of other modules',
      nothing,
      { target_modules: ['c_attn', 'c_fc'] },
      'CONFIG_VALUE',
      'it says ["c_attn","c_fc"], and the adapter of ./broken has ["c_attn"]',
      'leave out lora.target_modules',
    ],
  ])('%s', async (_, damage, said, code, why, fix) => {
    await damage()
    await config({ lora: { init_from: './broken', ...said }, output: { output_dir: 'refused' } })
    for (const line of [
      ['run', 'warm.yaml'],
      ['validate', 'warm.yaml'],
      ['server', 'warm.yaml', '--port', '0'],
    ]) {
      const { error, status } = await typeForScript([...commands, ...serverCommands], ...line)
      expect([line[0], status, error?.code]).toEqual([line[0], 'error', code])
      expect(`${error!.what}: ${error!.why}`).toContain(why)
      expect(error!.fix).toContain(fix)
    }
    expect(await readdir('.')).not.toContain('refused')
  })

  test('that holds one adapter for each client: it is asked which', async () => {
    await rm('broken', { recursive: true })
    for (const id of ['ada', 'bob']) await cp('from-peft', join('broken', id), { recursive: true })
    const { error } = await run({ lora: { init_from: 'broken' } })
    expect(error).toMatchObject({ code: 'ADAPTER_NOT_FOUND', fix: `give one of these, such as ${join('broken', 'ada')}` })
    expect((await run({ lora: { init_from: join('broken', 'bob') } })).error).toBeUndefined()
  })
})
