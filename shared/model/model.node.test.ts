import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { UserError } from '../errors.js'
import { weightsOfSides } from './loaded.js'
import { openModel, shippedModelFolder } from './model.node.js'
import { parseSafetensors, serializeSafetensors, type TensorToWrite } from './safetensors.js'
import { goldenFile } from './testing/golden.js'

let root: string
let folder: string
let cacheBefore: string | undefined
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cutlayer-model-'))
  folder = join(root, 'golden')
  cpSync(goldenFile('gpt2', 'model'), folder, { recursive: true })
  cacheBefore = process.env.CUTLAYER_CACHE
  process.env.CUTLAYER_CACHE = join(root, 'cache')
})
afterEach(() => {
  if (cacheBefore === undefined) delete process.env.CUTLAYER_CACHE
  else process.env.CUTLAYER_CACHE = cacheBefore
  rmSync(root, { recursive: true })
})

function editTensors(edit: (tensors: Map<string, TensorToWrite>) => void): void {
  const file = join(folder, 'model.safetensors')
  const { tensors } = parseSafetensors(readFileSync(file), { name: file, code: 'MODEL_CORRUPT' })
  const changed = new Map([...tensors].map(([name, { shape, bytes }]): [string, TensorToWrite] => [name, { dtype: 'F32', shape, bytes }]))
  edit(changed)
  writeFileSync(file, serializeSafetensors(changed))
}

function editConfig(keys: object): void {
  const file = join(folder, 'config.json')
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), ...keys }))
}

/** What save_pretrained leaves out, because it is the embedding. */
const HEAD = 'lm_head.weight'
const head = (tensors: ReadonlyMap<string, TensorToWrite>): TensorToWrite => tensors.get('transformer.wte.weight')!

describe('openModel', () => {
  test('tells what the folder holds, and calls it by no path', async () => {
    const model = await openModel(folder)
    expect(model).toMatchObject({
      folder,
      name: 'golden',
      revision: null,
      architecture: { layers: 4, hiddenSize: 32, vocabularySize: 96, maxPositions: 64 },
    })
    // Embeddings 96 and 64 by 32, a final norm, and in each of 4 blocks 12 d^2 + 13 d numbers, d = 32.
    expect(model.parameters).toBe(96 * 32 + 64 * 32 + 2 * 32 + 4 * (12 * 32 ** 2 + 13 * 32))
  })

  test('without a name opens the shipped model', async () => {
    const model = await openModel(null)
    expect(model.name).toBe('cutlayer-shipped')
    expect(model.folder).toBe(shippedModelFolder())
  })

  test("reads the weights of a client's own blocks and no others", async () => {
    const model = await openModel(folder)
    const store = await model.weights(weightsOfSides(model.definition, 1).bottom)
    const files = new Set([...store.specs.keys()].map((name) => store.locate(name)?.file))
    expect(files).toEqual(new Set(['embedding.bin', 'block-0.bin']))
  })

  test('takes a checkpoint that stores its tied head as well for the same model', async () => {
    const before = await openModel(folder)
    editTensors((tensors) => tensors.set(HEAD, head(tensors)))
    expect((await openModel(folder)).digest).toEqual(before.digest)
  })

  test('takes names without their prefix for the same model', async () => {
    const before = await openModel(folder)
    editTensors((tensors) => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name)
        tensors.set(name.replace('transformer.', ''), tensor)
      }
    })
    expect((await openModel(folder)).digest).toEqual(before.digest)
  })

  test('reads a head of its own where the configuration unties it', async () => {
    const tied = await openModel(folder)
    editConfig({ tie_word_embeddings: false })
    await expect(openModel(folder)).rejects.toMatchObject({ code: 'TENSOR_MISSING', why: expect.stringContaining(HEAD) as string })
    editTensors((tensors) => tensors.set(HEAD, head(tensors)))
    expect((await openModel(folder)).parameters).toBe(tied.parameters + 96 * 32)
  })

  test.each([
    [
      'TENSOR_MISSING',
      /transformer\.h\.3\.ln_2\.bias is missing/,
      (all: Map<string, TensorToWrite>) => all.delete('transformer.h.3.ln_2.bias'),
    ],
    [
      'TENSOR_SHAPE',
      /wpe\.weight is \[32, 64\].*\[64, 32\]/,
      (all: Map<string, TensorToWrite>) => {
        const name = 'transformer.wpe.weight'
        all.set(name, { ...all.get(name)!, shape: [32, 64] })
      },
    ],
    ['MODEL_UNSUPPORTED', /a tensor transformer\.score\.weight/, (all: Map<string, TensorToWrite>) => all.set('score.weight', head(all))],
  ] as const)('refuses, as %s, a checkpoint that does not fit its configuration', async (code, why, edit) => {
    editTensors(edit)
    const error = await openModel(folder).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toMatchObject({ code, why: expect.stringMatching(why) as string, fix: expect.stringContaining('config.json') as string })
  })
})
