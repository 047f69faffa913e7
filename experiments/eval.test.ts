import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommandLine } from '../shared/command-line/frame.node.js'
import { GOLDEN_MODELS, goldenFile, readJson } from '../shared/model/testing/golden.js'
import { packageRoot } from '../shared/version.node.js'
import { evalCommand, type EvaluationResult } from './eval.js'
import { goldenRows, writeGoldenModel } from './testing/golden-model.js'
import { typeCommand } from './testing/type.js'

let folder: string
const at = (...parts: string[]): string => join(folder, ...parts)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-eval-'))
  process.env.CUTLAYER_CACHE = at('cache')
  for (const name of GOLDEN_MODELS) {
    await writeGoldenModel(at(name), name, { eos: false })
    await writeFile(at(`${name}.jsonl`), goldenRows(name))
  }
  await writeGoldenModel(at('zeros'), 'gpt2', { eos: true, zeros: true })
})
afterAll(() => rm(folder, { recursive: true }))

interface Envelope {
  readonly status: string
  readonly exit_code: number
  readonly data: EvaluationResult
  readonly error?: { readonly code: string; readonly what: string; readonly why: string }
}

/** In this process, on the reference engine. */
async function evaluate(...args: string[]): Promise<Envelope> {
  let stdout = ''
  const streams = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: () => true }, environment: {} }
  const line = ['eval', '--engine', 'reference', '--format', 'json', ...args]
  await runCommandLine({ version: '0', summary: '', commands: [evalCommand] }, line, streams, () => undefined)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Envelope
}

describe.each(GOLDEN_MODELS)('the golden model %s', (name) => {
  const { loss_base, loss_lora } = readJson<{ loss_base: number; loss_lora: number }>(goldenFile(name, 'golden.json'))
  const given = (): string[] => ['--model', at(name), '--data', at(`${name}.jsonl`)]

  test('has the loss that transformers gives', async () => {
    const { data } = await evaluate(...given())
    expect(data.loss! / loss_base).toBeCloseTo(1, 5)
    expect(data.perplexity! / Math.exp(loss_base)).toBeCloseTo(1, 4)
    expect(data).toMatchObject({ evaluated: 3, truncated: 0, dropped: 0 })
    expect(data).not.toHaveProperty('rows')
  })

  test('has the loss that PEFT gives with an adapter, also row by row', async () => {
    const { data } = await evaluate(...given(), '--adapter', goldenFile(name, 'adapter'), '--per-row')
    expect(data.loss! / loss_lora).toBeCloseTo(1, 5)
    expect(data.rows).toHaveLength(3)
    const nll = data.rows!.reduce((sum, { loss, tokens }) => sum + loss! * tokens, 0)
    expect(nll / data.tokens).toBeCloseTo(data.loss!, 10)
    expect(data.rows!.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(data.tokens)
  })
})

test('the program gives the same by onnx, and its envelope is the last line', async () => {
  const { loss_lora } = readJson<{ loss_lora: number }>(goldenFile('gpt2', 'golden.json'))
  const args = ['eval', '--model', at('gpt2'), '--data', at('gpt2.jsonl'), '--adapter', goldenFile('gpt2', 'adapter'), '--format', 'json']
  const { status, stdout } = await new Promise<{ status: number | null; stdout: string }>((resolve) => {
    const child = execFile(process.execPath, [join(packageRoot(), 'dist', 'cli.js'), ...args], (_, out) =>
      resolve({ status: child.exitCode, stdout: out }),
    )
  })
  expect(status).toBe(0)
  const { data } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Envelope
  expect(data.loss! / loss_lora).toBeCloseTo(1, 4)
  // The labels of the golden batch: 10, 6 and 2.
  expect(data.tokens).toBe(18)
})

describe('a model that knows nothing', () => {
  // Every logit is 0, so each of its 96 tokens always has the probability 1/96, and a token costs ln 96 nats, log2 96 bits.
  const LN_96 = 4.564348191467836
  const rows = async (name: string, ...lines: object[]): Promise<string[]> => {
    await writeFile(at(name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    return ['--model', at('zeros'), '--data', at(name)]
  }

  test('scores all tokens but the first of a text, all of a completion, and the end of both', async () => {
    const given = await rows('forms.jsonl', { text: 'abc' }, { prompt: 'abcde', completion: 'fg' })
    const { data } = await evaluate(...given, '--per-row')
    expect(data.rows!.map(({ tokens }) => tokens)).toEqual([3, 3])
    for (const { loss } of [data, ...data.rows!]) expect(loss).toBeCloseTo(LN_96, 5)
    expect(data.perplexity).toBeCloseTo(96, 3)
    expect(data.tokens).toBe(6)
    // In this vocabulary the end of a row is a plain character too, so every scored token is one byte.
    expect(data.bits_per_byte).toBeCloseTo(LN_96 / Math.LN2, 5)
  })

  test('scores prompts where it is asked to', async () => {
    const given = await rows('prompts.jsonl', { prompt: 'abcde', completion: 'fg' })
    expect((await evaluate(...given, '--score-prompts')).data.tokens).toBe(7)
  })

  test('counts rows that are cut, and reports those without a scored token in their place', async () => {
    const given = await rows('long.jsonl', { text: 'abcdefgh' }, { prompt: 'abcdefgh', completion: 'i' }, { text: 'ab' })
    const { data } = await evaluate(...given, '--max-length', '4', '--per-row')
    expect(data).toMatchObject({ evaluated: 2, truncated: 2, dropped: 1, tokens: 5 })
    expect(data.rows!.map(({ tokens }) => tokens)).toEqual([3, 0, 2])
    expect(data.rows![1].loss).toBeNull()
  })

  test('gives the same in batches of any size', async () => {
    const given = await rows('sizes.jsonl', ...Array.from({ length: 7 }, (_, i) => ({ text: 'x'.repeat(2 + ((i * 5) % 7)) })))
    const [one, many] = [await evaluate(...given, '--batch', '1'), await evaluate(...given, '--batch', '3')]
    expect(many.data.tokens).toBe(one.data.tokens)
    expect(many.data.loss).toBeCloseTo(one.data.loss!, 6)
  })

  test('has nothing to say where no token is scored', async () => {
    const { error } = await evaluate(...(await rows('nothing.jsonl', { prompt: 'abcd', completion: 'e' })), '--max-length', '3')
    expect(error).toMatchObject({ code: 'DATA_EMPTY' })
  })
})

describe('bad input is refused by name:', () => {
  const error = async (...args: string[]) => (await evaluate(...args)).error

  test('no data', async () => {
    expect(await error('--model', at('gpt2'))).toMatchObject({ code: 'BAD_ARGUMENT', what: '--data is missing' })
  })

  test('a model, an adapter or rows that are not there', async () => {
    const good = ['--model', at('gpt2'), '--data', at('gpt2.jsonl')]
    expect(await error('--model', at('nowhere'), '--data', at('gpt2.jsonl'))).toMatchObject({ code: 'MODEL_NOT_FOUND' })
    expect(await error(...good, '--adapter', at('nowhere'))).toMatchObject({ code: 'ADAPTER_NOT_FOUND' })
    expect(await error('--model', at('gpt2'), '--data', at('nowhere.jsonl'))).toMatchObject({ code: 'DATA_NOT_FOUND' })
  })

  test('a row that does not parse, with its line', async () => {
    await writeFile(at('bad.jsonl'), '{"text": "good"}\n{"text": 7}\n')
    const given = await error('--model', at('gpt2'), '--data', at('bad.jsonl'))
    expect(given).toMatchObject({ code: 'DATA_ROW_INVALID', what: expect.stringContaining('line 2') as string })
  })

  test('rows longer than the model can take', async () => {
    const given = await error('--model', at('gpt2'), '--data', at('gpt2.jsonl'), '--max-length', '65')
    expect(given).toMatchObject({ code: 'BAD_ARGUMENT', why: 'the model has 64 positions' })
  })

  test('an engine that is not there', async () => {
    const given = await error('--model', at('gpt2'), '--data', at('gpt2.jsonl'), '--engine', 'torch')
    expect(given).toMatchObject({ code: 'BAD_ARGUMENT', fix: 'use onnx, tfjs or reference' })
  })

  test('the tokenizer of another model', async () => {
    await cp(at('zeros'), at('stranger'), { recursive: true })
    const tokenizer = await readFile(at('stranger', 'tokenizer.json'), 'utf8')
    await writeFile(at('stranger', 'tokenizer.json'), tokenizer.replace('"a":64', '"a":640'))
    await writeFile(at('a.jsonl'), '{"text": "ab"}\n')
    expect(await error('--model', at('stranger'), '--data', at('a.jsonl'))).toMatchObject({
      code: 'TOKENIZER_MISMATCH',
      why: expect.stringContaining('640') as string,
    })
  })

  test('what an adapter says to no effect is told', async () => {
    await cp(goldenFile('gpt2', 'adapter'), at('idle'), { recursive: true })
    const config = readJson<object>(join(at('idle'), 'adapter_config.json'))
    const idle = { target_modules: ['c_attn', 'q_proj'], rank_pattern: { v_proj: 2 }, alpha_pattern: { 'h.9.*': 1 } }
    await writeFile(join(at('idle'), 'adapter_config.json'), JSON.stringify({ ...config, ...idle }))
    const given = ['--model', at('gpt2'), '--data', at('gpt2.jsonl')]
    const { stderr } = await typeCommand([evalCommand], 'eval', '--engine', 'reference', ...given, '--adapter', at('idle'))
    for (const word of ['q_proj in target_modules', 'v_proj in rank_pattern', 'h.9.* in alpha_pattern']) expect(stderr).toContain(word)
    const [loud, quiet] = [
      await evaluate(...given, '--adapter', at('idle')),
      await evaluate(...given, '--adapter', goldenFile('gpt2', 'adapter')),
    ]
    expect(loud.data.loss).toBe(quiet.data.loss)
  })

  test.each([
    ['whose layers the model does not have', { target_modules: ['q_proj'] }],
    ['of another rank', { r: 3 }],
  ])('an adapter %s', async (why, changes) => {
    const adapter = at(`adapter ${why}`)
    await cp(goldenFile('gpt2', 'adapter'), adapter, { recursive: true })
    const config = readJson<object>(join(adapter, 'adapter_config.json'))
    await writeFile(join(adapter, 'adapter_config.json'), JSON.stringify({ ...config, ...changes }))
    const given = await error('--model', at('gpt2'), '--data', at('gpt2.jsonl'), '--adapter', adapter)
    expect(given).toMatchObject({ code: 'ADAPTER_MISMATCH' })
  })
})
