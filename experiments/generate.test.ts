import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { goldenFile, readJson, readTensors } from '../shared/model/testing/golden.js'
import type { I32Tensor } from '../shared/tensor.js'
import { generateCommand } from './generate.js'
import { goldenText, writeGoldenModel } from './testing/golden-model.js'
import { typeCommand, type Typed } from './testing/type.js'

let folder: string
const at = (...parts: string[]): string => join(folder, ...parts)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-generate-'))
  process.env.CUTLAYER_CACHE = at('cache')
  await writeGoldenModel(at('gpt2'), 'gpt2', { eos: true })
})
afterAll(() => rm(folder, { recursive: true }))

/** In this process, on the reference engine. */
const type = (...args: string[]): Promise<Typed> => typeCommand([generateCommand], 'generate', '--engine', 'reference', ...args)

const ids = (readTensors(goldenFile('gpt2', 'golden.safetensors')).get('input_ids') as I32Tensor).data
const { greedy } = readJson<{ greedy: number[] }>(goldenFile('gpt2', 'golden.json'))

describe('generate', () => {
  const prompt = goldenText(ids.slice(0, 4))
  const adapted = (): string[] => ['--model', at('gpt2'), '--adapter', goldenFile('gpt2', 'adapter'), '--prompt', prompt]

  test('writes greedily what transformers writes with the adapter, token for token', async () => {
    const { stdout } = await type(...adapted(), '--max-new-tokens', String(greedy.length), '--format', 'json')
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { event?: string; text?: string; data?: { text: string; token_ids: number[] } })
    expect(lines.at(-1)?.data).toEqual({ text: goldenText(greedy), token_ids: greedy })
    const pieces = lines.filter(({ event }) => event === 'token').map(({ text }) => text)
    expect(pieces).toHaveLength(greedy.length)
    expect(pieces.join('')).toBe(goldenText(greedy))
  })

  test('streams the prompt and what follows to a person', async () => {
    const { status, stdout } = await type(...adapted(), '--max-new-tokens', '3')
    expect([status, stdout]).toEqual([0, `${prompt}${goldenText(greedy.slice(0, 3))}\n`])
  })

  test('samples the same text for the same seed, and another for another', async () => {
    const sample = async (seed: string): Promise<string> =>
      (await type(...adapted(), '--max-new-tokens', '12', '--temperature', '1', '--top-k', '40', '--top-p', '0.95', '--seed', seed)).stdout
    expect(await sample('1')).toBe(await sample('1'))
    expect(await sample('1')).not.toBe(await sample('2'))
  })

  test('says that the text ends where the model has no position left', async () => {
    const { status, stderr } = await type(...adapted(), '--max-new-tokens', '100')
    expect(status).toBe(0)
    expect(stderr).toContain('the text ends here because gpt2 has no position left')
  })

  test('refuses the tokenizer of another model, with the token that the model does not know', async () => {
    await cp(at('gpt2'), at('stranger'), { recursive: true })
    const tokenizer = await readFile(at('stranger', 'tokenizer.json'), 'utf8')
    await writeFile(at('stranger', 'tokenizer.json'), tokenizer.replace('"a":64', '"a":640'))
    const { status, stdout, stderr } = await type('--model', at('stranger'), '--prompt', 'ab')
    expect([status, stdout]).toEqual([4, ''])
    expect(stderr).toContain('error: TOKENIZER_MISMATCH')
    expect(stderr).toContain('640')
  })

  test.each([
    [['--model', 'nowhere', '--prompt', 'a'], 'MODEL_NOT_FOUND', 4],
    [['--prompt', 'a', '--run', 'a1', '--model', 'b'], 'BAD_ARGUMENT', 5],
    [['--prompt', 'a', '--run', 'no-such-run'], 'RUN_NOT_FOUND', 5],
    [['--prompt', 'a', '--top-p', '2'], 'BAD_ARGUMENT', 5],
    [[], 'BAD_ARGUMENT', 5],
  ])('refuses %j', async (args, code, expected) => {
    const { status, stderr } = await type(...args)
    expect(status).toBe(expected)
    expect(stderr).toContain(`error: ${code}`)
  })
})
