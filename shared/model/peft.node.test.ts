import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { f32 } from '../tensor.js'
import { initialAdapter, loraBName, type LoraConfig } from './adapter.js'
import { fromFloat32 } from './dtype.js'
import type { LinearModule } from './families/family.js'
import { selectedModules } from './module-selection.js'
import { readPeftAdapter, writePeftAdapter, type PeftAdapterToWrite } from './peft.node.js'
import { parseSafetensors, serializeSafetensors, type TensorToWrite } from './safetensors.js'
import { goldenFile, readTensors } from './testing/golden.js'
import { checkInPeft } from './testing/peft-check.js'

/** The golden models: 4 blocks of width 32. */
const linears: LinearModule[] = [0, 1, 2, 3].flatMap((block) => [
  { path: `transformer.h.${block}.attn.c_attn`, in: 32, out: 96 },
  { path: `transformer.h.${block}.attn.c_proj`, in: 32, out: 32 },
  { path: `transformer.h.${block}.mlp.c_fc`, in: 32, out: 128 },
  { path: `transformer.h.${block}.mlp.c_proj`, in: 128, out: 32 },
])
const modulesOf = (config: LoraConfig): LinearModule[] => selectedModules(linears, config)

let root: string
let folder: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cutlayer-peft-'))
  folder = join(root, 'adapter')
})
afterEach(() => rmSync(root, { recursive: true }))

const lora: LoraConfig = {
  ...{ r: 4, alpha: 8, dropout: 0.1, useRslora: true, fanInFanOut: true },
  ...{ targetModules: ['c_fc', 'c_attn'], excludeModules: [], layers: null, layersPattern: [], rankPattern: {}, alphaPattern: {} },
}
function adapter(change: Partial<PeftAdapterToWrite> = {}): PeftAdapterToWrite {
  return {
    lora,
    baseModel: 'openai-community/gpt2',
    revision: 'main',
    init: true,
    tensors: initialAdapter(modulesOf(lora), { r: 4, seed: 3, init: true }),
    card: {
      title: 'speeches',
      paragraphs: ['Made by split learning.'],
      facts: [
        ['Rounds', 5],
        ['Model digest', 'ab12'],
      ],
    },
    ...change,
  }
}

describe('reading', () => {
  test.each(['gpt2', 'gpt2-all-linear', 'gpt2-relu-scaled'])('an adapter that PEFT wrote: %s', async (name) => {
    const read = await readPeftAdapter(goldenFile(`${name}/adapter`), modulesOf)
    expect(read.lora).toMatchObject({ r: 4, alpha: 8, dropout: 0, useRslora: false, fanInFanOut: true })
    expect(read.baseModel).toBeNull()
    const tensor = read.tensors.get('transformer.h.3.attn.c_attn.lora_B.weight')!
    expect(tensor.shape).toEqual([96, 4])
    expect(tensor.data.some((value) => value !== 0)).toBe(true)
  })
  test.each(['F16', 'BF16', 'F32'] as const)('%s weights', async (dtype) => {
    const { tensors } = adapter()
    await writePeftAdapter(folder, adapter())
    const stored = [...tensors].map(([name, { shape, data }]): [string, TensorToWrite] => [
      `base_model.model.${name}`,
      { dtype, shape, bytes: fromFloat32(data, dtype) },
    ])
    writeFileSync(join(folder, 'adapter_model.safetensors'), serializeSafetensors(new Map(stored)))
    const read = await readPeftAdapter(folder, modulesOf)
    const relative = dtype === 'F32' ? 0 : dtype === 'F16' ? 2 ** -11 : 2 ** -8
    for (const [name, { data }] of tensors) {
      read.tensors
        .get(name)!
        .data.forEach((value, index) =>
          expect(Math.abs(value - data[index])).toBeLessThanOrEqual(relative * Math.abs(data[index]) + 2 ** -24),
        )
    }
  })
})

describe('what cannot be honoured is refused by name', () => {
  const expectRefusal = async (code: string, words: RegExp): Promise<void> => {
    await expect(readPeftAdapter(folder, modulesOf)).rejects.toEqual(
      expect.objectContaining({ code, message: expect.stringMatching(words) }),
    )
  }
  const changeConfig = (change: Record<string, unknown>): void => {
    const file = join(folder, 'adapter_config.json')
    writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), ...change }))
  }
  beforeEach(() => cpSync(goldenFile('gpt2/adapter'), folder, { recursive: true }))

  test.each(
    Object.entries({
      peft_type: 'IA3',
      task_type: 'SEQ_CLS',
      bias: 'all',
      use_dora: true,
      lora_bias: true,
      modules_to_save: ['lm_head'],
      rank_pattern: { '(?<=h)c_attn': 2 },
      alpha_pattern: { 'c_(attn': 2 },
      layer_replication: [[0, 2]],
      exclude_modules: '(?i).*C_FC',
      target_modules: '.*(c_attn)\\1',
      target_parameters: ['experts'],
      trainable_token_indices: [1],
      init_lora_weights: 'pissa',
      use_something_new: { level: 3 },
    }),
  )('%s: %j', async (key, value) => {
    changeConfig({ [key]: value })
    await expectRefusal('ADAPTER_UNSUPPORTED', new RegExp(key))
  })
  test.each([
    ['peft_type', undefined],
    ['r', 0],
    ['r', '8'],
    ['lora_alpha', undefined],
    ['lora_dropout', 1],
    ['target_modules', []],
    ['use_rslora', 'yes'],
    ['revision', 3],
    ['rank_pattern', { c_attn: 0 }],
    ['rank_pattern', ['c_attn']],
    ['alpha_pattern', { c_attn: '8' }],
    ['layers_to_transform', [0.5]],
    ['layers_pattern', 'h'],
    ['exclude_modules', 3],
  ])('%s: %j is damaged', async (key, value) => {
    changeConfig({ [key]: value })
    await expectRefusal('ADAPTER_CORRUPT', new RegExp(key))
  })
  test('a missing folder, config or weights file', async () => {
    rmSync(join(folder, 'adapter_model.safetensors'))
    await expectRefusal('ADAPTER_NOT_FOUND', /adapter_model\.safetensors/)
    rmSync(join(folder, 'adapter_config.json'))
    await expectRefusal('ADAPTER_NOT_FOUND', /adapter_config\.json/)
    rmSync(folder, { recursive: true })
    await expectRefusal('ADAPTER_NOT_FOUND', /adapter_config\.json/)
  })
  test('pickled weights', async () => {
    rmSync(join(folder, 'adapter_model.safetensors'))
    writeFileSync(join(folder, 'adapter_model.bin'), '')
    await expectRefusal('ADAPTER_UNSUPPORTED', /adapter_model\.bin/)
  })
  test('a damaged weights file', async () => {
    writeFileSync(join(folder, 'adapter_model.safetensors'), '{}')
    await expectRefusal('ADAPTER_CORRUPT', /adapter_model\.safetensors/)
  })
  test('a weights file that is cut off anywhere', async () => {
    const file = join(folder, 'adapter_model.safetensors')
    const whole = readFileSync(file)
    for (const length of [0, 7, 8, 100, whole.length / 2, whole.length - 1]) {
      writeFileSync(file, whole.subarray(0, length))
      await expectRefusal('ADAPTER_CORRUPT', /adapter_model\.safetensors/)
    }
  })
  test.each([
    ['r', { r: 8 }, /is \[4, 32\] where \[8, 32\] is needed/],
    [
      'rank_pattern',
      { rank_pattern: { '2.attn.c_attn': 2 } },
      /2 tensors .*h\.2\.attn\.c_attn\.lora_A\.weight is \[4, 32\] where \[2, 32\]/,
    ],
  ])('a rank in %s that is not that of the tensors', async (_, change, why) => {
    changeConfig(change)
    await expectRefusal('ADAPTER_MISMATCH', why)
  })

  const writeWeights = (change: (tensors: Map<string, TensorToWrite>) => void): void => {
    const file = join(folder, 'adapter_model.safetensors')
    const { tensors } = parseSafetensors(readFileSync(file), { name: file, code: 'ADAPTER_CORRUPT' })
    const changed = new Map([...tensors].map(([name, { shape, bytes }]): [string, TensorToWrite] => [name, { dtype: 'F32', shape, bytes }]))
    change(changed)
    writeFileSync(file, serializeSafetensors(changed))
  }
  const lastB = 'base_model.model.transformer.h.3.attn.c_attn.lora_B.weight'
  test('a missing tensor', async () => {
    writeWeights((tensors) => tensors.delete(lastB))
    await expectRefusal('ADAPTER_MISMATCH', /missing: transformer\.h\.3\.attn\.c_attn\.lora_B\.weight/)
  })
  test('a tensor of another shape', async () => {
    writeWeights((tensors) => tensors.set(lastB, { ...tensors.get(lastB)!, shape: [4, 96] }))
    await expectRefusal('ADAPTER_MISMATCH', /h\.3\..*is \[4, 96\] where \[96, 4\]/)
  })
  test.each([
    'base_model.model.transformer.h.7.attn.c_attn.lora_A.weight',
    'base_model.model.lm_head.weight',
    'transformer.h.0.attn.c_attn.lora_A.weight',
  ])('an unexpected tensor %s', async (name) => {
    writeWeights((tensors) => tensors.set(name, { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }))
    await expectRefusal('ADAPTER_MISMATCH', new RegExp(`unexpected: .*${name.replace('base_model.model.', '').replaceAll('.', '\\.')}`))
  })
})

describe('what the tensors alone tell is refused by name', () => {
  beforeEach(() => cpSync(goldenFile('gpt2/adapter'), folder, { recursive: true }))
  test.each([
    ['transformer.h.0.attn.c_attn.lora_B.bias', /lora_bias/],
    ['transformer.h.0.attn.c_attn.lora_magnitude_vector', /DoRA/],
    ['transformer.wte.lora_embedding_A', /LoRA on an embedding/],
    ['lm_head.lora_A.weight', /LoRA on the output head/],
  ])('%s', async (name, words) => {
    const file = join(folder, 'adapter_model.safetensors')
    const { tensors } = parseSafetensors(readFileSync(file), { name: file, code: 'ADAPTER_CORRUPT' })
    const stored = [...tensors].map(([key, { shape, bytes }]): [string, TensorToWrite] => [key, { dtype: 'F32', shape, bytes }])
    const extra: TensorToWrite = { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }
    writeFileSync(file, serializeSafetensors(new Map([...stored, [`base_model.model.${name}`, extra]])))
    await expect(readPeftAdapter(folder, modulesOf)).rejects.toMatchObject({
      code: 'ADAPTER_UNSUPPORTED',
      what: expect.stringMatching(words) as string,
      why: `it has base_model.model.${name}`,
    })
  })
})

describe('writing', () => {
  test('gives what was written when read', async () => {
    await writePeftAdapter(folder, adapter())
    const read = await readPeftAdapter(folder, modulesOf)
    expect(read).toEqual({
      lora: { ...lora, targetModules: ['c_attn', 'c_fc'] },
      baseModel: 'openai-community/gpt2',
      revision: 'main',
      tensors: adapter().tensors,
    })
  })
  test('makes the three files, with sorted keys in the config, and nothing else beside them', async () => {
    await writePeftAdapter(folder, adapter())
    expect(readdirSync(root)).toEqual(['adapter'])
    expect(readdirSync(folder).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
    const config = readFileSync(join(folder, 'adapter_config.json'), 'utf8')
    const parsed = JSON.parse(config) as Record<string, unknown>
    expect(Object.keys(parsed)).toEqual(Object.keys(parsed).sort())
    expect(config).toBe(`${JSON.stringify(parsed, null, 2)}\n`)
    expect(parsed).toEqual({
      ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', base_model_name_or_path: 'openai-community/gpt2', revision: 'main' },
      ...{
        r: 4,
        lora_alpha: 8,
        lora_dropout: 0.1,
        target_modules: ['c_attn', 'c_fc'],
        fan_in_fan_out: true,
        bias: 'none',
        use_rslora: true,
      },
      ...{ use_dora: false, init_lora_weights: true, rank_pattern: {}, alpha_pattern: {}, layers_to_transform: null, layers_pattern: null },
      ...{ modules_to_save: null, auto_mapping: null, inference_mode: true },
    })
    const { metadata, tensors } = parseSafetensors(readFileSync(join(folder, 'adapter_model.safetensors')), {
      name: '',
      code: 'ADAPTER_CORRUPT',
    })
    expect(metadata).toEqual({ format: 'pt' })
    expect([...tensors.keys()].every((key) => key.startsWith('base_model.model.transformer.h.'))).toBe(true)
  })
  test('a half of an adapter tells its layers', async () => {
    const half = { ...lora, layers: [0, 1] }
    await writePeftAdapter(folder, adapter({ lora: half, tensors: initialAdapter(modulesOf(half), { r: 4, seed: 3, init: true }) }))
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))).toMatchObject({ layers_to_transform: [0, 1] })
    const read = await readPeftAdapter(folder, modulesOf)
    expect(read.lora.layers).toEqual([0, 1])
    expect(read.tensors.size).toBe(2 * 2 * 2)
  })
  test('ranks and alphas of their own are written by whole path', async () => {
    const path = 'transformer.h.1.mlp.c_fc'
    const uneven = { ...lora, rankPattern: { [path]: 6 }, alphaPattern: { [path]: 2.5 } }
    const modules = modulesOf(uneven)
    const ranks = new Map(modules.map((module) => [module.path, module.path === path ? 6 : 4]))
    await writePeftAdapter(folder, adapter({ lora: uneven, tensors: initialAdapter(modules, { r: ranks, seed: 3, init: true }) }))
    const read = await readPeftAdapter(folder, modulesOf)
    expect(read.lora).toMatchObject({ rankPattern: { [path]: 6 }, alphaPattern: { [path]: 2.5 } })
    expect(read.tensors.get(`${path}.lora_B.weight`)!.shape).toEqual([128, 6])
    expect(read.tensors.get('transformer.h.0.mlp.c_fc.lora_B.weight')!.shape).toEqual([128, 4])
  })
  test.each<[string, Partial<LoraConfig>]>([
    ['another rank', { r: 2 }],
    ['another rank for one', { rankPattern: { 'h.1.mlp.c_fc': 2 } }],
    ['fewer modules', { targetModules: ['c_fc'] }],
    ['fewer layers', { layers: [0, 1, 2] }],
  ])('tensors of a config that says %s are refused, and the folder stays as it was', async (_, change) => {
    await writePeftAdapter(folder, adapter())
    const before = readdirSync(folder).map((name) => readFileSync(join(folder, name)))
    await expect(writePeftAdapter(folder, adapter({ lora: { ...lora, ...change } }))).rejects.toMatchObject({ code: 'ADAPTER_MISMATCH' })
    expect(readdirSync(folder).map((name) => readFileSync(join(folder, name)))).toEqual(before)
    expect(readdirSync(root)).toEqual(['adapter'])
  })
  test('numbers that are none are written as they are', async () => {
    const tensors = new Map(adapter().tensors)
    tensors.set('transformer.h.1.mlp.c_fc.lora_B.weight', f32([128, 4], new Float32Array(512).fill(NaN)))
    await writePeftAdapter(folder, adapter({ tensors }))
    expect((await readPeftAdapter(folder, modulesOf)).tensors.get('transformer.h.1.mlp.c_fc.lora_B.weight')!.data[0]).toBeNaN()
  })
  test('the same adapter gives the same bytes', async () => {
    await writePeftAdapter(folder, adapter())
    await writePeftAdapter(join(root, 'again'), adapter({ tensors: new Map([...adapter().tensors].reverse()) }))
    for (const file of readdirSync(folder)) expect(readFileSync(join(root, 'again', file))).toEqual(readFileSync(join(folder, file)))
  })
  test('replaces an adapter in place, and keeps what else lies there', async () => {
    await writePeftAdapter(folder, adapter())
    writeFileSync(join(folder, 'notes.txt'), 'mine')
    const { ino } = statSync(folder)
    const name = loraBName('transformer.h.0.attn.c_attn')
    const tensors = new Map(adapter().tensors).set(name, f32([96, 4], new Float32Array(384).fill(1)))
    await writePeftAdapter(folder, adapter({ tensors }))
    expect(statSync(folder).ino).toBe(ino)
    expect((await readPeftAdapter(folder, modulesOf)).tensors.get(name)!.data[0]).toBe(1)
    expect(readdirSync(folder).length).toBe(4)
  })
  test('is never seen half done: every read while it is replaced over and over gives one whole adapter', async () => {
    const filled = (value: number): PeftAdapterToWrite =>
      adapter({
        tensors: new Map(
          [...adapter().tensors].map(([name, { shape, data }]) => [name, f32(shape, new Float32Array(data.length).fill(value))]),
        ),
      })
    await writePeftAdapter(folder, filled(0))
    let writing = true
    const writer = (async () => {
      for (let value = 1; value <= 20; value++) await writePeftAdapter(folder, filled(value))
      writing = false
    })()
    while (writing) {
      const { tensors } = await readPeftAdapter(folder, modulesOf)
      expect(new Set([...tensors.values()].flatMap(({ data }) => [...data])).size).toBe(1)
    }
    await writer
  })
  test('a folder that cannot be made is an error, and leaves nothing behind', async () => {
    writeFileSync(join(root, 'file'), '')
    await expect(writePeftAdapter(join(root, 'file', 'adapter'), adapter())).rejects.toMatchObject({ code: 'RUN_DIR_UNWRITABLE' })
    expect(readdirSync(root)).toEqual(['file'])
  })
  test("a path of this machine as the base model's name is a bug that is caught", async () => {
    for (const baseModel of ['/models/gpt2', './gpt2', '../gpt2', 'a\\b', 'data/models/gpt2']) {
      await expect(writePeftAdapter(folder, adapter({ baseModel }))).rejects.toThrow(/bug in cutlayer/)
    }
    expect(readdirSync(root)).toEqual([])
  })
})

describe('in PEFT itself', () => {
  test(
    'a written adapter loads with no missing and no unexpected key, and gives PyTorch the golden loss',
    { timeout: 300_000 },
    async (context) => {
      const read = await readPeftAdapter(goldenFile('gpt2-all-linear/adapter'), modulesOf)
      await writePeftAdapter(folder, adapter({ lora: read.lora, baseModel: 'golden', revision: null, tensors: read.tensors }))
      const tensors = readTensors(goldenFile('gpt2-all-linear', 'golden.safetensors'))
      const table = (name: string): number[][] => {
        const { shape, data } = tensors.get(name)!
        const values = [...data]
        return Array.from({ length: shape[0] }, (_, row) => values.slice(row * shape[1], (row + 1) * shape[1]))
      }
      const rows = { input_ids: table('input_ids'), attention_mask: table('attention_mask'), labels: table('labels') }
      const result = await checkInPeft(goldenFile('gpt2-all-linear/model'), folder, rows)
      if (!result) return context.skip('Python with torch, transformers and peft is needed')
      expect(result).toMatchObject({ missing: [], unexpected: [] })
      const golden = JSON.parse(readFileSync(goldenFile('gpt2-all-linear/golden.json'), 'utf8')) as {
        loss_lora: number
        loss_base: number
      }
      expect(Math.abs(result.loss - golden.loss_lora) / golden.loss_lora).toBeLessThan(1e-4)
      expect(Math.abs(golden.loss_lora - golden.loss_base)).toBeGreaterThan(0.1) // so that an adapter without effect would be seen
    },
  )
})
