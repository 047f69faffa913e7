import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openCheckpoint, renameTensors, type Checkpoint } from './checkpoint.node.js'
import { fromFloat32, toFloat32 } from './dtype.js'
import { parseSafetensors, serializeSafetensors, type TensorToWrite } from './safetensors.js'

const golden = fileURLToPath(new URL('golden/gpt2/model', import.meta.url))

let folder: string
let opened: Checkpoint[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutlayer-checkpoint-'))
  opened = []
})
afterEach(async () => {
  await Promise.all(opened.map((checkpoint) => checkpoint.close()))
  rmSync(folder, { recursive: true })
})

async function openHere(path = folder): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path)
  opened.push(checkpoint)
  return checkpoint
}

function write(file: string, content: string | Uint8Array): void {
  writeFileSync(join(folder, file), content)
}

function tensor(values: readonly number[], dtype: 'F32' | 'F16' | 'BF16' = 'F32'): TensorToWrite {
  return { dtype, shape: [values.length], bytes: fromFloat32(Float32Array.from(values), dtype) }
}

function writeModel(tensors: Record<string, TensorToWrite>, file = 'model.safetensors'): void {
  write('config.json', '{"model_type":"gpt2"}')
  write(file, serializeSafetensors(new Map(Object.entries(tensors))))
}

const failure = (code: string, text: RegExp): unknown => expect.objectContaining({ code, message: expect.stringMatching(text) })

describe('a model folder', () => {
  test('gives config, generation config, and every tensor as its file holds it', async () => {
    const checkpoint = await openHere(golden)
    expect(checkpoint.config).toMatchObject({ model_type: 'gpt2', n_layer: 4 })
    expect(checkpoint.generationConfig).toMatchObject({ eos_token_id: 2 })
    const source = { name: 'model.safetensors', code: 'MODEL_CORRUPT' as const }
    const { tensors } = parseSafetensors(readFileSync(join(golden, 'model.safetensors')), source)
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...tensors.keys()].sort())
    for (const [name, raw] of tensors) expect(await checkpoint.readF32(name)).toEqual(toFloat32(raw, source))
  })
  test('may have no generation config', async () => {
    writeModel({ w: tensor([1]) })
    expect((await openHere()).generationConfig).toBeNull()
  })
  test('of which only some tensors are wanted lists those, and needs no shards without them', async () => {
    writeModel({ a: tensor([1]), b: tensor([2]) }, 'model-00001-of-00002.safetensors')
    const weightMap = {
      a: 'model-00001-of-00002.safetensors',
      b: 'model-00001-of-00002.safetensors',
      c: 'model-00002-of-00002.safetensors',
    }
    write('model.safetensors.index.json', JSON.stringify({ weight_map: weightMap }))
    const checkpoint = await openCheckpoint(folder, (name) => name === 'b')
    opened.push(checkpoint)
    expect([...checkpoint.tensors.keys()]).toEqual(['b'])
    await expect(openCheckpoint(folder, (name) => name === 'c')).rejects.toEqual(failure('MODEL_NOT_FOUND', /00002-of-00002.*is missing/))
  })
  test('may have half-precision tensors', async () => {
    writeModel({ half: tensor([0.1, -2], 'F16'), brain: tensor([0.1, -2], 'BF16') })
    const checkpoint = await openHere()
    expect([...(await checkpoint.readF32('half'))]).toEqual([0.0999755859375, -2])
    expect([...(await checkpoint.readF32('brain'))]).toEqual([0.10009765625, -2])
  })
  test('may be sharded', async () => {
    writeModel({ a: tensor([1, 2]) }, 'model-00001-of-00002.safetensors')
    writeModel({ b: tensor([3]), unlisted: tensor([4]) }, 'model-00002-of-00002.safetensors')
    const weightMap = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' }
    write('model.safetensors.index.json', JSON.stringify({ metadata: { total_size: 12 }, weight_map: weightMap }))
    const checkpoint = await openHere()
    expect([...checkpoint.tensors.keys()]).toEqual(['a', 'b'])
    expect([...(await checkpoint.readF32('a'))]).toEqual([1, 2])
    expect([...(await checkpoint.readF32('b'))]).toEqual([3])
  })
  test('is read in pieces where one asks for it', async () => {
    writeModel({ before: tensor([9]), w: tensor([1, 2, 3, 4, 5]) })
    const checkpoint = await openHere()
    const pieces: number[][] = []
    for await (const piece of checkpoint.pieces('w', 8)) pieces.push([...new Float32Array(piece.slice().buffer)])
    expect(pieces).toEqual([[1, 2], [3, 4], [5]])
  })
})

describe('other names', () => {
  test('reach the same tensors, and leave buffers out', async () => {
    writeModel({ 'h.0.attn.bias': tensor([7]), 'wte.weight': tensor([1, 2]) })
    const renamed = renameTensors(await openHere(), (name) => (name.endsWith('attn.bias') ? null : `transformer.${name}`))
    expect([...renamed.tensors.keys()]).toEqual(['transformer.wte.weight'])
    expect(renamed.tensors.get('transformer.wte.weight')).toMatchObject({ name: 'transformer.wte.weight', nameInFile: 'wte.weight' })
    expect([...(await renamed.readF32('transformer.wte.weight'))]).toEqual([1, 2])
    await expect(renamed.readF32('wte.weight')).rejects.toEqual(failure('TENSOR_MISSING', /no tensor wte\.weight/))
  })
  test('that fall together are refused', async () => {
    writeModel({ 'a.x': tensor([1]), 'b.x': tensor([2]) })
    const checkpoint = await openHere()
    expect(() => renameTensors(checkpoint, () => 'x')).toThrowError(failure('MODEL_CORRUPT', /x twice, as a\.x and as b\.x/))
  })
})

describe('what is not a readable model is refused by name', () => {
  const expectRefusal = async (code: string, text: RegExp, path = folder): Promise<void> => {
    await expect(openHere(path)).rejects.toEqual(failure(code, text))
  }
  test('a folder that does not exist', async () => {
    await expectRefusal('MODEL_NOT_FOUND', /no model .*nowhere.*does not exist$/, join(folder, 'nowhere'))
  })
  test('a file in place of a folder', async () => {
    await expectRefusal('MODEL_NOT_FOUND', /is a file/, join(golden, 'config.json'))
  })
  test('a folder without config.json', async () => {
    write('model.safetensors', 'x')
    await expectRefusal('MODEL_NOT_FOUND', /config\.json is missing/)
  })
  test.each([
    ['cut', '{"model_type":'],
    ['a list', '[]'],
  ])('a config.json that is %s', async (_, text) => {
    write('config.json', text)
    await expectRefusal('MODEL_CORRUPT', /config\.json/)
  })
  test('a folder without weights', async () => {
    write('config.json', '{}')
    await expectRefusal('MODEL_NOT_FOUND', /neither model\.safetensors nor model\.safetensors\.index\.json/)
  })
  test('pickled weights, saying how to convert them', async () => {
    write('config.json', '{}')
    write('pytorch_model.bin', 'x')
    await expect(openHere()).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED', fix: expect.stringContaining('convert to safetensors') })
  })
  test('a truncated file', async () => {
    cpSync(golden, folder, { recursive: true })
    truncateSync(join(folder, 'model.safetensors'), 50_000)
    await expectRefusal('MODEL_CORRUPT', /model\.safetensors.*file ends after 50000/)
  })
  test('an empty file', async () => {
    write('config.json', '{}')
    write('model.safetensors', '')
    await expectRefusal('MODEL_CORRUPT', /model\.safetensors.*has 0 bytes/)
  })
  test('a file that gets shorter while it is open', async () => {
    writeModel({ w: tensor([1, 2, 3]) })
    const checkpoint = await openHere()
    const { offset } = checkpoint.tensors.get('w')!
    truncateSync(join(folder, 'model.safetensors'), offset + 4)
    await expect(checkpoint.readF32('w')).rejects.toEqual(failure('MODEL_CORRUPT', /model\.safetensors.*ended within w/))
  })
  test('a tensor of integers, once it is read as float32', async () => {
    writeModel({ steps: { dtype: 'I64', shape: [0], bytes: new Uint8Array(0) } })
    const checkpoint = await openHere()
    await expect(checkpoint.readF32('steps')).rejects.toEqual(failure('MODEL_UNSUPPORTED', /steps.*I64/))
  })
  test('a tensor that is not there', async () => {
    writeModel({ w: tensor([1]) })
    const checkpoint = await openHere()
    await expect(checkpoint.readF32('v')).rejects.toEqual(failure('TENSOR_MISSING', /no tensor v/))
  })

  describe('an index', () => {
    const index = (weightMap: unknown): void => {
      write('config.json', '{}')
      write('model.safetensors.index.json', JSON.stringify({ weight_map: weightMap }))
    }
    test('without a weight map', async () => {
      index(null)
      await expectRefusal('MODEL_CORRUPT', /index\.json.*no weight_map/)
    })
    test('that names an absent shard', async () => {
      index({ w: 'model-00001-of-00001.safetensors' })
      await expectRefusal('MODEL_NOT_FOUND', /model-00001-of-00001\.safetensors is missing.*puts w in it/)
    })
    test.each([
      '../other.safetensors',
      '/etc/other.safetensors',
      'sub/other.safetensors',
      '..\\other.safetensors',
      '..safetensors',
      'other.bin',
      7,
    ])('that points at %s', async (file) => {
      index({ w: file })
      await expectRefusal('MODEL_CORRUPT', /puts w in .*not the name of a safetensors file/)
    })
    test('that puts a tensor in a shard without it', async () => {
      writeModel({ a: tensor([1]) }, 'one.safetensors')
      index({ b: 'one.safetensors' })
      await expectRefusal('MODEL_CORRUPT', /b is in one\.safetensors, which does not hold it/)
    })
    test('whose shard is damaged, by the name of the shard', async () => {
      write('one.safetensors', '{}')
      index({ b: 'one.safetensors' })
      await expectRefusal('MODEL_CORRUPT', /^one\.safetensors is not a whole safetensors file/)
    })
  })
})
