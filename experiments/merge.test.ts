import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../shared/model/checkpoint.node.js'
import { fromFloat32 } from '../shared/model/dtype.js'
import { serializeSafetensors, type TensorToWrite } from '../shared/model/safetensors.js'
import { goldenFile, readJson, readTensors } from '../shared/model/testing/golden.js'
import type { F32Tensor, I32Tensor } from '../shared/tensor.js'
import { once } from '../shared/once.js'
import { evalCommand, type EvaluationResult } from './eval.js'
import { mergeCommand } from './merge.js'
import { goldenRows, writeGoldenModel } from './testing/golden-model.js'
import { typeCommand, typeForScript } from './testing/type.js'

const CASES = ['gpt2', 'gpt2-all-linear', 'gpt2-relu-scaled', 'llama-untied']
const NOT_INSTALLED = 77

let folder: string
const at = (...parts: string[]): string => join(folder, ...parts)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-merge-'))
  process.env.CUTLAYER_CACHE = at('cache')
  for (const name of CASES) {
    await writeGoldenModel(at(name), name, { eos: true })
    await writeFile(at(`${name}.jsonl`), goldenRows(name))
  }
})
afterAll(() => rm(folder, { recursive: true }))

interface Merged {
  readonly model_dir: string
  readonly merged: number
  readonly tensors: number
  readonly dtypes: readonly string[]
  readonly files: readonly string[]
}

const merge = (model: string, adapter: string, out: string, ...flags: string[]) =>
  typeForScript<Merged>([mergeCommand], 'merge', '--model', model, '--adapter', adapter, out, ...flags)
const lossOf = async (model: string, name: string, ...flags: string[]): Promise<number> => {
  const args = ['eval', '--engine', 'reference', '--model', model, '--data', at(`${name}.jsonl`), ...flags]
  return (await typeForScript<EvaluationResult>([evalCommand], ...args)).data.loss!
}

describe.each(CASES)('the golden model %s', (name) => {
  const adapter = goldenFile(name, 'adapter')

  test('has, merged, the loss that it has with the adapter', async () => {
    const { data } = await merge(at(name), adapter, at('merged', name))
    const [merged, adapted, base] = [
      await lossOf(data.model_dir, name),
      await lossOf(at(name), name, '--adapter', adapter),
      await lossOf(at(name), name),
    ]
    expect(Math.abs(merged - adapted)).toBeLessThan(1e-5)
    expect(Math.abs(base - adapted), 'an adapter without effect would be seen').toBeGreaterThan(1e-3)
    expect(data.dtypes).toEqual(['F32'])
    expect(data.files).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']))
  })

  test('gives, merged and loaded by transformers, the logits that PEFT gives', { timeout: 120_000 }, async (context) => {
    const verdict = (await verdictsOfPython())?.get(name)
    if (verdict === undefined) return context.skip('Python with torch, transformers and peft is needed')
    expect(verdict).toMatchObject({ missing: [], dtype: 'torch.float32' })
    expect(verdict.difference).toBeLessThan(1e-4)
  })
})

interface Verdict {
  readonly difference: number
  readonly size: number
  readonly dtype: string
  readonly missing: readonly string[]
}

/** Of all cases, by one process: loading its packages takes longer than what it does. */
const verdictsOfPython = once(checkInPython)

/** Null, with the reason printed, where Python or its packages are not installed. */
async function checkInPython(): Promise<Map<string, Verdict> | null> {
  const script = fileURLToPath(new URL('testing/merged_check.py', import.meta.url))
  const folders: string[] = []
  for (const name of CASES) {
    const [adapter, merged, idsFile] = [goldenFile(name, 'adapter'), at('for-python', name), at(`${name}-ids.json`)]
    await merge(at(name), adapter, merged)
    const ids = readTensors(goldenFile(name, 'golden.safetensors')).get('input_ids') as I32Tensor
    const [rows, width] = ids.shape as [number, number]
    await writeFile(
      idsFile,
      JSON.stringify(Array.from({ length: rows }, (_, row) => [...ids.data.subarray(row * width, (row + 1) * width)])),
    )
    folders.push(at(name), adapter, merged, idsFile)
  }
  const python = spawn('python3', [script, ...folders], { env: { ...process.env, HF_HUB_OFFLINE: '1' } })
  const status = new Promise<number | null>((done) => python.on('error', () => done(null)).on('close', done))
  const [stdout, stderr, code] = await Promise.all([text(python.stdout), text(python.stderr), status])
  if (code === null || code === NOT_INSTALLED) {
    console.log(`skipped: ${code === null ? 'python3 cannot be run here' : stderr.trim()}`)
    return null
  }
  if (code !== 0) throw new Error(stderr)
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'))
  return new Map(lines.map((line, index) => [CASES[index], JSON.parse(line) as Verdict]))
}

describe('the element type', () => {
  const adapter = goldenFile('gpt2', 'adapter')

  test.each([
    ['f16', 'F16', 'float16', 2e-3],
    ['bf16', 'BF16', 'bfloat16', 2e-2],
  ])('is %s where that is asked for, in files and in config.json', async (flag, dtype, torchName, tolerance) => {
    const out = at(`as-${flag}`)
    const { data } = await merge(at('gpt2'), adapter, out, '--dtype', flag)
    expect(data.dtypes).toEqual([dtype])
    expect((await stat(join(out, 'model.safetensors'))).size).toBeLessThan(0.6 * (await stat(at('gpt2', 'model.safetensors'))).size)
    const config = readJson<{ dtype?: string; torch_dtype?: string }>(join(out, 'config.json'))
    expect(config.dtype ?? config.torch_dtype).toBe(torchName)
    const [merged, adapted] = [await lossOf(out, 'gpt2'), await lossOf(at('gpt2'), 'gpt2', '--adapter', adapter)]
    expect(Math.abs(merged - adapted)).toBeLessThan(tolerance)
  })

  test("is the base model's where nothing is said, and what the adapter does not touch keeps its bytes, in all files of a sharded model", async () => {
    await writeShards(at('shards'))
    const out = at('merged-shards')
    const { data } = await merge(at('shards'), adapter, out)
    expect(data.dtypes).toEqual(['BF16', 'F32', 'I32'])
    const [before, after] = [await openCheckpoint(at('shards')), await openCheckpoint(out)]
    try {
      expect([...after.tensors.keys()].sort()).toEqual([...before.tensors.keys()].sort())
      const changed: string[] = []
      for (const [name, { dtype, file }] of before.tensors) {
        expect(after.tensors.get(name)).toMatchObject({ dtype, file })
        if (!Buffer.concat(await pieces(before, name)).equals(Buffer.concat(await pieces(after, name)))) changed.push(name)
      }
      expect(changed.sort()).toEqual([0, 1, 2, 3].map((block) => `h.${block}.attn.c_attn.weight`))
      expect(data.merged).toBe(4)
    } finally {
      await Promise.all([before.close(), after.close()])
    }
  })

  test('is refused as f16 where a value is too large for it', async () => {
    await cp(at('gpt2'), at('large'), { recursive: true })
    await rewrite(at('large'), (name, data) => (name === 'transformer.ln_f.weight' ? data.fill(70_000) : data))
    const { error } = await merge(at('large'), adapter, at('too-small'), '--dtype', 'f16')
    expect(error).toMatchObject({ code: 'BAD_ARGUMENT', fix: expect.stringContaining('bf16') as string })
    expect(await readdir(folder)).not.toContain('too-small')
  })
})

async function pieces(checkpoint: Awaited<ReturnType<typeof openCheckpoint>>, name: string): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const piece of checkpoint.pieces(name)) all.push(Uint8Array.from(piece))
  return all
}

const goldenTensors = (): [string, F32Tensor][] =>
  [...readTensors(goldenFile('gpt2', 'model', 'model.safetensors'))] as [string, F32Tensor][]

async function rewrite(model: string, edit: (name: string, data: Float32Array) => Float32Array): Promise<void> {
  const tensors = goldenTensors().map(([name, { shape, data }]): [string, TensorToWrite] => [
    name,
    { dtype: 'F32', shape, bytes: fromFloat32(edit(name, Float32Array.from(data)), 'F32') },
  ])
  await writeFile(join(model, 'model.safetensors'), serializeSafetensors(new Map(tensors)))
}

/** The golden model in two files, weights in BF16 and biases in F32, under the hub's names for GPT-2, with a mask as old checkpoints have it. */
async function writeShards(model: string): Promise<void> {
  await cp(at('gpt2'), model, { recursive: true })
  await rm(join(model, 'model.safetensors'))
  const shards = [new Map<string, TensorToWrite>(), new Map<string, TensorToWrite>()]
  goldenTensors().forEach(([name, { shape, data }], index) => {
    const dtype = name.endsWith('.bias') ? 'F32' : 'BF16'
    shards[index % 2].set(name.replace(/^transformer\./, ''), { dtype, shape, bytes: fromFloat32(Float32Array.from(data), dtype) })
  })
  shards[0].set('h.0.attn.bias', { dtype: 'I32', shape: [2], bytes: new Uint8Array(8) })
  const files = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const weightMap = Object.fromEntries(shards.flatMap((tensors, index) => [...tensors.keys()].map((name) => [name, files[index]])))
  for (const [index, file] of files.entries()) await writeFile(join(model, file), serializeSafetensors(shards[index], { format: 'pt' }))
  await writeFile(join(model, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }))
}

describe('refused, and nothing is written:', () => {
  const adapter = goldenFile('gpt2', 'adapter')

  test('a folder that is not empty; an empty one is filled', async () => {
    await mkdir(at('full'))
    await writeFile(at('full', 'thesis.txt'), 'mine')
    expect((await merge(at('gpt2'), adapter, at('full'))).error).toMatchObject({ code: 'BAD_ARGUMENT' })
    expect(await readdir(at('full'))).toEqual(['thesis.txt'])
    await mkdir(at('empty'))
    expect((await merge(at('gpt2'), adapter, at('empty'))).status).toBe('ok')
  })

  test.each([
    ['no adapter', () => ['--model', at('gpt2')], 'BAD_ARGUMENT'],
    ['a type that there is none of', () => ['--model', at('gpt2'), '--adapter', adapter, '--dtype', 'f8'], 'BAD_ARGUMENT'],
    ['an adapter that is not there', () => ['--model', at('gpt2'), '--adapter', at('nowhere')], 'ADAPTER_NOT_FOUND'],
    ['a model that is not there', () => ['--model', at('nowhere'), '--adapter', adapter], 'MODEL_NOT_FOUND'],
    ["another model's adapter", () => ['--adapter', adapter], 'ADAPTER_MISMATCH'],
  ])('%s', async (_, args, code) => {
    expect((await typeForScript([mergeCommand], 'merge', at('never'), ...args())).error).toMatchObject({ code })
    expect(await readdir(folder)).not.toContain('never')
  })

  test('an adapter that diverged', async () => {
    await cp(adapter, at('diverged'), { recursive: true })
    const file = at('diverged', 'adapter_model.safetensors')
    const bytes = await readFile(file)
    bytes.writeFloatLE(NaN, bytes.length - 4)
    await writeFile(file, bytes)
    expect((await merge(at('gpt2'), at('diverged'), at('never'))).error).toMatchObject({ code: 'ADAPTER_CORRUPT' })
    expect((await readdir(folder)).filter((name) => name.includes('never'))).toEqual([])
  })
})

test('a person is told what was written', async () => {
  const { stdout } = await typeCommand(
    [mergeCommand],
    'merge',
    at('told'),
    '--model',
    at('gpt2'),
    '--adapter',
    goldenFile('gpt2', 'adapter'),
  )
  expect(stdout).toMatch(/^wrote gpt2 with the adapter in 4 of its \d+ tensors to .*told: .* [kM]?B, F32\n$/)
})
