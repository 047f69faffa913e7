import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ErrorCode } from '../errors.js'
import { loadConfig } from './load.node.js'
import { Config } from './schema.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-config-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

describe('loading a config', () => {
  test('reads YAML, and names the run after the file', async () => {
    const config = await loadConfig(await file('my run (2).yaml', 'train:\n  learning_rate: 5e-4\nlora:\n  target_modules: [c_attn]\n'))
    expect(config.train.learning_rate).toBe(0.0005)
    expect(config.lora.target_modules).toEqual(['c_attn'])
    expect(config.output.run_name).toBe('my-run-2-')
  })

  test('reads JSON', async () => {
    expect((await loadConfig(await file('a.json', '{"federation": {"num_rounds": 2}}'))).federation.num_rounds).toBe(2)
  })

  test('takes an empty file for all defaults', async () => {
    const defaults = Config.parse({ output: { run_name: 'empty' } })
    expect(await loadConfig(await file('empty.yaml', ''))).toEqual(defaults)
  })

  test('lets overrides win, in their order, with YAML values', async () => {
    const path = await file('b.yaml', 'train: {seed: 1}\nlora:\n')
    const config = await loadConfig(path, [
      'train.seed=2',
      'train.seed=3',
      'lora.target_modules=[c_attn, c_proj]',
      'data.max_length = 64',
      'data.path=',
    ])
    expect(config.train.seed).toBe(3)
    expect(config.lora.target_modules).toEqual(['c_attn', 'c_proj'])
    expect(config.data).toMatchObject({ max_length: 64, path: null, dataset: 'sotu' })
  })
})

describe('a config that cannot be loaded', () => {
  const cases: readonly [string, string | null, readonly string[], ErrorCode, RegExp][] = [
    ['a missing file', null, [], 'CONFIG_NOT_FOUND', /looked for .*missing\.yaml$/],
    ['bad YAML', 'train:\n  seed: [1\nlora: 3', [], 'CONFIG_SYNTAX', /^line 3, column 1: /],
    ['a key written twice', 'train: {}\ntrain: {}', [], 'CONFIG_SYNTAX', /^line 2, .*unique/],
    [
      'aliases that multiply',
      `a: &a [1,1,1,1]\n${[...'bcdefgh'].map((k, i) => `${k}: &${k} [${`*${'abcdefgh'[i]},`.repeat(9)}1]`).join('\n')}`,
      [],
      'CONFIG_SYNTAX',
      /alias/,
    ],
    ['too large a file', `# ${'x'.repeat(1 << 20)}`, [], 'CONFIG_NOT_FOUND', /1048578 bytes/],
    ['an override without a value', '', ['train.seed'], 'BAD_ARGUMENT', /no "="/],
    ['an override of a group', '', ['train=1'], 'BAD_ARGUMENT', /not of the form/],
    ['an override of an unknown key', '', ['train.sed=1'], 'CONFIG_UNKNOWN_KEY', /sed/],
    ['an override that is not YAML', '', ['lora.target_modules=[a'], 'CONFIG_SYNTAX', /line 1/],
    ['an override into a prototype', '', ['__proto__.polluted=1'], 'CONFIG_UNKNOWN_KEY', /__proto__/],
    ['a list that an override would hide', 'train: [1]', ['train.seed=1'], 'CONFIG_VALUE', /group of keys/],
  ]
  test.each(cases)('because of %s is refused', async (_, text, overrides, code, why) => {
    const path = text === null ? join(folder, 'missing.yaml') : await file('bad.yaml', text)
    await expect(loadConfig(path, overrides)).rejects.toMatchObject({ code, why: expect.stringMatching(why) as string })
  })

  test('because it is a folder is refused', async () => {
    await expect(loadConfig(folder)).rejects.toMatchObject({ code: 'CONFIG_NOT_FOUND', why: expect.stringMatching(/EISDIR/) as string })
  })
})
