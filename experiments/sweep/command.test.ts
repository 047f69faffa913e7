import { readdir, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { commands } from '../command.js'
import { typeCommand, typeForScript } from '../testing/type.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'
import type { SettingOutcome, SweepRun } from './outcome.js'

interface Result {
  readonly baseline: string
  readonly settings: readonly SettingOutcome[]
  readonly runs: readonly SweepRun[]
}

let workshop: Workshop
let home: string
beforeAll(async () => {
  workshop = await openWorkshop()
  home = process.cwd()
  process.chdir(workshop.folder)
  vi.stubEnv('CUTLAYER_CACHE', workshop.at('cache'))
  await workshop.config('base.yaml', {
    federation: { num_rounds: 1 },
    transport: { kind: 'memory' },
    output: { output_dir: 'runs' },
  })
})
afterAll(async () => {
  process.chdir(home)
  vi.unstubAllEnvs()
  await workshop.remove()
})

async function sweepFile(name: string, sweep: object): Promise<string> {
  // JSON is YAML, too.
  await writeFile(workshop.at(name), JSON.stringify({ config: 'base.yaml', set: { 'train.seed': [1, 2] }, ...sweep }))
  return name
}

const CODECS = {
  fp32: null,
  int8: { 'transport.activation_codec': 'int8', 'transport.gradient_codec': 'int8' },
  int4: { 'transport.activation_codec': 'int4', 'transport.gradient_codec': 'int4' },
}

describe('sweep', () => {
  test('runs each setting with each seed, compares in pairs, and does not make again what is there', async () => {
    const path = await sweepFile('codecs.yaml', { settings: CODECS, baseline: 'fp32' })
    const first = await typeForScript<Result>(commands, 'sweep', path)
    const { settings, runs } = first.data
    expect(runs.map(({ setting, seed, status }) => [setting, seed, status])).toEqual([
      ['fp32', 1, 'complete'],
      ['int8', 1, 'complete'],
      ['int4', 1, 'complete'],
      ['fp32', 2, 'complete'],
      ['int8', 2, 'complete'],
      ['int4', 2, 'complete'],
    ])
    const [fp32, int8, int4] = settings
    expect(fp32).toMatchObject({ setting: 'fp32', complete: 2, cut_factor: 1, eval_loss_difference: null })
    const losses = (name: string): number[] => runs.filter(({ setting }) => setting === name).map(({ eval_loss }) => eval_loss!)
    const ratios = losses('int8').map((loss, index) => loss / losses('fp32')[index]! - 1)
    expect(int8!.eval_loss_difference!.mean).toBeCloseTo((ratios[0]! + ratios[1]!) / 2, 12)
    expect(int8!.eval_loss_difference!.high! - int8!.eval_loss_difference!.low!).toBeGreaterThan(0)
    expect(int8!.cut_factor).toBeGreaterThan(2.5)
    expect(int4!.cut_factor).toBeGreaterThan(int8!.cut_factor!)

    const again = await typeForScript<Result>(commands, 'sweep', path)
    expect(again.data).toEqual(first.data)
    expect(await readdir(workshop.at('runs'))).toHaveLength(6)
    const text = await typeCommand(commands, 'sweep', path)
    expect(text.stdout).toMatch(/^setting +runs +loss +difference +cut +fewer/m)
    expect(text.stdout).toMatch(/^int8 +2 +\d\.\d{4} +[+-]\d\.\d\d% \(/m)
  })

  test.each([
    [
      'a setting that the model has no room for',
      { settings: { ...CODECS, deep: { 'split.cut_layer': -1 } } },
      'CONFIG_VALUE',
      'split.cut_layer',
    ],
    ['a setting with a key that there is not', { settings: { ...CODECS, odd: { 'train.lr_rate': 1 } } }, 'CONFIG_UNKNOWN_KEY', 'lr_rate'],
    ['one setting', { settings: { fp32: {} } }, 'CONFIG_VALUE', 'settings'],
    ['a baseline that is no setting', { settings: CODECS, baseline: 'fp64' }, 'CONFIG_VALUE', 'fp32, int8, int4'],
    ['settings of different seeds', { settings: { ...CODECS, other: { 'train.seed': [1, 3] } } }, 'CONFIG_VALUE', 'other has other seeds'],
    ['a config that is not there', { config: 'none.yaml', settings: CODECS }, 'CONFIG_NOT_FOUND', 'none.yaml'],
    ['a key of no group', { settings: { ...CODECS, odd: { seed: 1 } } }, 'CONFIG_VALUE', 'settings.odd'],
  ])('refuses %s before it runs anything', async (_, sweep, code, words) => {
    const before = await readdir(workshop.folder)
    const { error } = await typeForScript(commands, 'sweep', await sweepFile('bad.yaml', sweep))
    expect(error?.code).toBe(code)
    expect(`${error?.what} ${error?.why} ${error?.fix}`).toContain(words)
    expect(new Set(await readdir(workshop.folder))).toEqual(new Set([...before, 'bad.yaml']))
  })
})
