import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Direction } from '../backend/blocks.js'
import { quantizedWeights, type WeightLocation, type WeightStore } from '../backend/weights.js'
import { asCacheError, cacheFolder } from './cache.node.js'
import { openCheckpoint, renameTensors, type Checkpoint } from './checkpoint.node.js'
import type { ModelDigest } from './digest.js'
import { digestCheckpoint } from './digest.node.js'
import { fromFloat32 } from './dtype.js'
import { checkpointNumbers, prepareWeights } from './prepared.node.js'
import { serializeSafetensors } from './safetensors.js'

const golden = fileURLToPath(new URL('golden/gpt2/model', import.meta.url))
const fileOf = (name: string): string => {
  const block = /\.h\.(\d+)\./.exec(name)
  return block ? `block-${block[1]}.bin` : /wte|wpe/.test(name) ? 'embedding.bin' : 'head.bin'
}

let root: string
let cache: string
let checkpoint: Checkpoint
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'cutlayer-prepared-'))
  cache = join(root, 'cache')
  checkpoint = await openCheckpoint(golden)
})
afterEach(async () => {
  await checkpoint.close()
  rmSync(root, { recursive: true })
})

const namesOf = (...files: string[]): string[] => [...checkpoint.tensors.keys()].filter((name) => files.includes(fileOf(name)))

/** Float32, as the checkpoint has it. */
async function plain(from = checkpoint, digest?: ModelDigest) {
  const known = digest ?? (await digestCheckpoint(from, cache))
  return { source: checkpointNumbers(from, known), model: known.model, precision: 'fp32', fileOf, blocksOf: () => null, cache } as const
}

async function prepare(names: Iterable<string> = checkpoint.tensors.keys(), from = checkpoint): Promise<WeightStore> {
  return prepareWeights({ ...(await plain(from)), names })
}

async function expectWhole(store: WeightStore): Promise<void> {
  for (const name of store.specs.keys()) expect(await store.read(name)).toEqual(await checkpoint.readF32(name))
}

/** The inode tells a file that was made again from one that was left alone. */
const inode = (file: string): number => statSync(file).ino

describe('prepared weights', () => {
  test('hold every tensor as float32, each at the start of a page, in files by group', async () => {
    const store = await prepare()
    expect([...store.specs.keys()].sort()).toEqual([...checkpoint.tensors.keys()].sort())
    await expectWhole(store)
    for (const name of store.specs.keys()) {
      const { file, offset, bytes } = store.locate(name)!
      expect(file).toBe(fileOf(name))
      expect(offset % 4096).toBe(0)
      expect(readFileSync(join(store.folder!, file)).subarray(offset, offset + bytes)).toEqual(
        Buffer.from((await checkpoint.readF32(name)).buffer),
      )
    }
    const blockNames = [...store.specs.keys()].filter((name) => fileOf(name) === 'block-0.bin')
    expect(blockNames).toEqual([...blockNames].sort())
  })
  test('lie under the digest and the precision', async () => {
    const store = await prepare()
    expect(store.folder).toBe(join(cache, 'weights', `${store.digest}-fp32`))
    expect(store.digest).toMatch(/^[0-9a-f]{64}$/)
  })
  test('are prepared for the groups asked for only, whole groups, and others are added later', async () => {
    const bottom = await prepare(namesOf('embedding.bin', 'block-0.bin').slice(0, 5))
    const binaries = (): string[] => readdirSync(bottom.folder!).filter((name) => name.endsWith('.bin'))
    expect(binaries()).toEqual(['block-0.bin'])
    expect([...bottom.specs.keys()].sort()).toEqual(namesOf('block-0.bin').sort())
    expect(bottom.locate('transformer.wte.weight')).toBeNull()
    await expect(bottom.read('transformer.wte.weight')).rejects.toMatchObject({
      code: 'TENSOR_MISSING',
      what: expect.stringContaining('transformer.wte.weight'),
    })
    const before = inode(join(bottom.folder!, 'block-0.bin'))
    await expectWhole(await prepare(namesOf('block-0.bin', 'block-3.bin', 'head.bin')))
    expect(binaries()).toEqual(['block-0.bin', 'block-3.bin', 'head.bin'])
    expect(inode(join(bottom.folder!, 'block-0.bin'))).toBe(before)
  })
  test('in 8-bit blocks lie in a folder of their own: matrices in two forms, vectors as float32', async () => {
    const known = await plain()
    const blocksOf = (name: string): Direction | null => (known.source.shapes.get(name)!.length === 2 ? 'columns' : null)
    const names = known.source.shapes.keys()
    const store = await prepareWeights({ ...known, precision: 'q8', blocksOf, names })
    expect(store.folder).toBe(join(cache, 'weights', `${known.model}-q8`))
    expect(store.precision).toBe('q8')
    const matrices = new Map([...known.source.shapes.keys()].flatMap((name) => (blocksOf(name) ? [[name, 'columns'] as const] : [])))
    const expected = await quantizedWeights(await prepare(), matrices)
    for (const [name, { shape }] of store.specs) {
      expect(await store.read(name)).toEqual(await expected.read(name))
      const [blocks, plainPlace] = [store.quantized(name), store.locate(name)]
      expect([blocks === null, plainPlace === null]).toEqual([shape.length === 1, shape.length === 2])
      if (!blocks) continue
      const [there, wanted] = [blocks, expected.quantized(name)!].map(({ rows, columns }) => [
        rows.codes,
        rows.scales,
        columns.codes,
        columns.scales,
      ])
      for (const [i, part] of there.entries()) {
        const { file, offset, bytes } = part as WeightLocation
        expect(offset % 4096).toBe(0)
        const { raw } = wanted[i] as { raw: Uint8Array }
        expect(
          readFileSync(join(store.folder, file))
            .subarray(offset, offset + bytes)
            .equals(raw),
        ).toBe(true)
      }
    }
    const [file] = [...store.files.keys()]
    const made = inode(join(store.folder, file))
    await prepareWeights({ ...known, precision: 'q8', blocksOf, names: known.source.shapes.keys() })
    expect(inode(join(store.folder, file))).toBe(made)
  })
  test('can be read after the checkpoint is closed', async () => {
    const other = await openCheckpoint(golden)
    const store = await prepare(namesOf('head.bin'), other)
    await other.close()
    await expectWhole(store)
  })
  test('come in float32 from a half-precision model', async () => {
    const folder = join(root, 'half')
    mkdirSync(folder)
    writeFileSync(join(folder, 'config.json'), '{}')
    const bytes = fromFloat32(Float32Array.of(0.1, 2, -3), 'F16')
    writeFileSync(join(folder, 'model.safetensors'), serializeSafetensors(new Map([['w', { dtype: 'F16' as const, shape: [3], bytes }]])))
    const half = await openCheckpoint(folder)
    const store = await prepare(['w'], half)
    await half.close()
    expect([...(await store.read('w'))]).toEqual([0.0999755859375, 2, -3])
  })
  test('are refused for a tensor that the model has not', async () => {
    await expect(prepare(['transformer.h.9.ln_1.weight'])).rejects.toMatchObject({
      code: 'TENSOR_MISSING',
      what: expect.stringContaining('h.9.ln_1'),
    })
  })
  test('are refused if the model is no longer what its digest was made of', async () => {
    const digest = await digestCheckpoint(checkpoint, cache)
    const swapped = renameTensors(checkpoint, (name) => name.replace(/ln_([12])/, (_, n) => `ln_${3 - Number(n)}`))
    await expect(prepareWeights({ ...(await plain(swapped, digest)), names: namesOf('block-0.bin') })).rejects.toMatchObject({
      code: 'MODEL_CORRUPT',
      what: expect.stringContaining('transformer.h.0.ln_'),
    })
    expect(readdirSync(join(cache, 'weights', `${digest.model}-fp32`))).toEqual([])
  })
})

describe('a damaged cache file is made again', () => {
  async function expectRebuilt(damage: (file: string, folder: string) => void): Promise<void> {
    const { folder } = await prepare(namesOf('block-1.bin', 'block-2.bin'))
    const file = join(folder!, 'block-1.bin')
    const whole = readFileSync(file)
    const neighbour = inode(join(folder!, 'block-2.bin'))
    damage(file, folder!)
    await expectWhole(await prepare(namesOf('block-1.bin', 'block-2.bin')))
    expect(readFileSync(file).equals(whole)).toBe(true)
    expect(inode(join(folder!, 'block-2.bin'))).toBe(neighbour)
  }
  test('if it was truncated', () => expectRebuilt((file) => truncateSync(file, 5000)))
  test('if it is missing', () => expectRebuilt((file) => rmSync(file)))
  test('if another file of its size is in its place', () =>
    expectRebuilt((file) => {
      const bytes = readFileSync(file)
      bytes[4096] ^= 1
      writeFileSync(file, bytes)
      utimesSync(file, 1e9, 1e9)
    }))
  test('if a link is in its place', () =>
    expectRebuilt((file, folder) => {
      renameSync(file, join(folder, 'elsewhere'))
      symlinkSync(join(folder, 'elsewhere'), file)
    }))
  test.each([
    ['missing', null],
    ['cut', '{"layout":'],
    ['of another layout', '{"layout":{"version":1},"sha256":"","stamp":""}'],
  ])('if its manifest is %s', (_, manifest) =>
    expectRebuilt((file) => {
      if (manifest === null) rmSync(`${file}.json`)
      else writeFileSync(`${file}.json`, manifest)
    }),
  )
  test('but not if it only has another time: then its checksum decides, once', async () => {
    const { folder } = await prepare(namesOf('block-1.bin'))
    const file = join(folder!, 'block-1.bin')
    utimesSync(file, 1e9, 1e9)
    const before = inode(file)
    const manifest = readFileSync(`${file}.json`, 'utf8')
    await prepare(namesOf('block-1.bin'))
    expect(inode(file)).toBe(before)
    expect(readFileSync(`${file}.json`, 'utf8')).not.toBe(manifest)
  })
  test('and a store that is in use says so', async () => {
    const store = await prepare(namesOf('block-1.bin'))
    truncateSync(join(store.folder!, 'block-1.bin'), 5000)
    await expect(store.read('transformer.h.1.mlp.c_proj.weight')).rejects.toMatchObject({ code: 'MODEL_CORRUPT' })
  })
})

describe('several processes', () => {
  let scripts: string
  let script: string
  beforeAll(async () => {
    scripts = mkdtempSync(join(tmpdir(), 'cutlayer-prepare-child-'))
    script = join(scripts, 'child.mjs')
    const entry = fileURLToPath(new URL('testing/prepare-child.node.ts', import.meta.url))
    await build({ entryPoints: [entry], outfile: script, bundle: true, platform: 'node', format: 'esm', target: 'node20' })
  })
  afterAll(() => rmSync(scripts, { recursive: true }))

  /** A child that has said `ready`, and its further lines. */
  async function child(...args: string[]): Promise<{ process: ChildProcess; lines: AsyncIterator<string> }> {
    const started = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface(started.stdout)[Symbol.asyncIterator]()
    expect((await lines.next()).value).toBe('ready')
    return { process: started, lines }
  }

  test('may prepare the same weights at once, and both read them whole', async () => {
    const folder = join(root, 'model')
    mkdirSync(folder)
    writeFileSync(join(folder, 'config.json'), '{}')
    const tensors = Array.from({ length: 8 }, (_, index): [string, { dtype: 'F32'; shape: number[]; bytes: Uint8Array }] => [
      `w${index}`,
      { dtype: 'F32', shape: [2 ** 18], bytes: fromFloat32(new Float32Array(2 ** 18).fill(index), 'F32') },
    ])
    writeFileSync(join(folder, 'model.safetensors'), serializeSafetensors(new Map(tensors)))
    const children = await Promise.all([0, 1].map(() => child('prepare', cache, folder)))
    for (const { process } of children) process.stdin!.write('go\n')
    for (const { lines } of children) {
      const { sums } = JSON.parse((await lines.next()).value) as { sums: Record<string, number> }
      expect(sums).toEqual(Object.fromEntries(tensors.map(([name], index) => [name, index * 2 ** 18])))
    }
    const [prepared] = readdirSync(join(cache, 'weights'))
    expect(readdirSync(join(cache, 'weights', prepared)).sort()).toEqual(['all.bin', 'all.bin.json'])
    const manifest = JSON.parse(readFileSync(join(cache, 'weights', prepared, 'all.bin.json'), 'utf8')) as { sha256: string }
    expect(
      createHash('sha256')
        .update(readFileSync(join(cache, 'weights', prepared, 'all.bin')))
        .digest('hex'),
    ).toBe(manifest.sha256)
  })
  test('that died while writing leave a temporary file, which the next one removes; that of a living one stays', async () => {
    const { folder } = await prepare(namesOf('head.bin'))
    const [dead, living] = await Promise.all([child('die', cache, folder!), child('die', cache, folder!)])
    for (const { process, lines } of [dead, living]) {
      process.stdin!.write('go\n')
      expect((await lines.next()).value).toBe('writing')
    }
    const temporaries = (): string[] => readdirSync(folder!).filter((name) => name.endsWith('.tmp'))
    expect(temporaries().length).toBe(2)
    dead.process.kill('SIGKILL')
    await once(dead.process, 'exit')
    await expectWhole(await prepare(namesOf('block-0.bin')))
    expect(temporaries()).toEqual([expect.stringContaining(`.${living.process.pid}.`)])
    living.process.kill('SIGKILL')
    await once(living.process, 'exit')
  })
})

describe('the cache folder', () => {
  test('is CUTLAYER_CACHE, else under XDG_CACHE_HOME, else under the home folder', () => {
    expect(cacheFolder({ CUTLAYER_CACHE: join(root, 'own'), XDG_CACHE_HOME: root })).toBe(join(root, 'own'))
    expect(cacheFolder({ XDG_CACHE_HOME: root })).toBe(join(root, 'cutlayer'))
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative' })).toMatch(/\.cache.cutlayer$/)
    expect(cacheFolder({})).toMatch(/\.cache.cutlayer$/)
  })
  test('that cannot be made is an error that names it and the way out', async () => {
    const file = join(root, 'file')
    writeFileSync(file, '')
    await expect(prepareWeights({ ...(await plain()), names: namesOf('head.bin'), cache: join(file, 'cache') })).rejects.toMatchObject({
      code: 'CACHE_UNWRITABLE',
      what: expect.stringContaining(file),
      fix: expect.stringContaining('CUTLAYER_CACHE'),
    })
  })
  test.skipIf(!existsSync('/dev/full'))('on a full disk is an error that says so', () => {
    let failure: unknown
    try {
      writeFileSync('/dev/full', 'x') // the system's own ENOSPC
    } catch (error) {
      failure = error
    }
    expect(asCacheError('cache', failure)).toMatchObject({ code: 'CACHE_UNWRITABLE', why: 'the disk is full' })
  })
  test('does not disguise other errors', () => {
    const bug = new TypeError('x is undefined')
    expect(asCacheError('cache', bug)).toBe(bug)
  })
})
