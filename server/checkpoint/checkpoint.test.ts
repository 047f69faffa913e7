import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { PAGE_BYTES, SmallDisk, whyNoDisk } from '../../experiments/testing/small-disk.js'
import { temporaryPath } from '../../shared/model/atomic-file.node.js'
import { packed, unpacked } from './contents.js'
import { TENSOR_FILES, withDigest, type CheckpointFacts } from './facts.js'
import { newestCheckpoint, readCheckpoint } from './read.js'
import { sampleContents } from './testing/contents.js'
import { Torn } from './torn.js'
import { checkpointRounds, removeOldCheckpoints, writeCheckpoint } from './write.js'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cutlayer-checkpoints-'))
})
afterEach(() => rm(root, { recursive: true }))

const FILES = ['checkpoint.json', ...TENSOR_FILES.map((name) => `${name}.safetensors`)]

describe('a checkpoint', () => {
  test('comes back as it was, to the last bit', async () => {
    await writeCheckpoint(root, sampleContents(4))
    expect(await readCheckpoint(root, 4)).toEqual(sampleContents(4))
    expect((await readdir(join(root, 'round-4'))).sort()).toEqual([...FILES].sort())
  })

  test('without tensors of a kind has no file of it', async () => {
    const { state, ...others } = sampleContents(2)
    const clients = { ...state.clients, moments: null, strategy: null, own: new Map() }
    const contents = { ...others, state: { ...state, clients, top: null }, bestAdapters: new Map() }
    await writeCheckpoint(root, contents)
    expect((await readdir(join(root, 'round-2'))).sort()).toEqual(['adapter.safetensors', 'checkpoint.json'])
    expect(await readCheckpoint(root, 2)).toEqual(contents)
  })

  test('takes the place of a torn one of its round', async () => {
    await mkdir(join(root, 'round-2'))
    await writeFile(join(root, 'round-2', 'stray'), '')
    await writeCheckpoint(root, sampleContents(2))
    expect(await readCheckpoint(root, 2)).toEqual(sampleContents(2))
    expect(await readdir(root)).toEqual(['round-2'])
  })

  test('whose tensors are not those that it speaks of is torn', () => {
    const { facts, files } = packed(sampleContents(1))
    const whole: CheckpointFacts = { ...facts, files: [] }
    expect(unpacked(whole, files)).toEqual(sampleContents(1))
    for (const [file, tensors] of files) {
      if (file === 'strategy') continue // it may have any
      const [[name]] = tensors
      expect(() => unpacked(whole, new Map([...files, [file, new Map([...tensors].filter(([other]) => other !== name))]])), file).toThrow(
        Torn,
      )
    }
  })
})

/** What happens to a file of a checkpoint. */
const ACCIDENTS: readonly (readonly [string, (path: string, at: number) => Promise<void>])[] = [
  ['is gone', (path) => rm(path)],
  ['is cut', (path, at) => truncate(path, at)],
  ['is empty', (path) => truncate(path, 0)],
  ['is longer', (path) => writeFile(path, 'x', { flag: 'a' })],
  ['has another byte', flipByte],
  ['is a folder', async (path) => rm(path).then(async () => void (await mkdir(path)))],
]

async function flipByte(path: string, at: number): Promise<void> {
  const handle = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, at)
  byte[0]! ^= 0x20
  await handle.write(byte, 0, 1, at)
  await handle.close()
}

describe('a checkpoint of which a file', () => {
  test.each(ACCIDENTS)('%s is passed over for the one before, whichever file and wherever', async (_, happens) => {
    await writeCheckpoint(root, sampleContents(1))
    const file = fc.constantFrom(...FILES)
    await fc.assert(
      fc.asyncProperty(file, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), async (name, place) => {
        await writeCheckpoint(root, sampleContents(2))
        const path = join(root, 'round-2', name)
        await happens(path, Math.floor(place * (await readFile(path)).length))
        const found = await newestCheckpoint(root)
        expect(found?.contents.state.round).toBe(1)
        expect(found?.torn).toEqual([{ round: 2, why: expect.stringContaining(name) as string }])
      }),
      { numRuns: 15 },
    )
  })

  test('is too many does not matter: nobody opens what checkpoint.json does not name', async () => {
    await writeCheckpoint(root, sampleContents(2))
    await writeFile(join(root, 'round-2', 'stray.safetensors'), 'no tensors')
    expect((await newestCheckpoint(root))?.contents).toEqual(sampleContents(2))
  })
})

describe('looking for the newest', () => {
  test('finds none where there is none', async () => {
    expect(await newestCheckpoint(join(root, 'nowhere'))).toBeNull()
    expect(await newestCheckpoint(root)).toBeNull()
    await mkdir(temporaryPath(join(root, 'round-1')))
    expect(await newestCheckpoint(root)).toBeNull()
  })

  test('goes by number, and by nothing that is half-written', async () => {
    for (const round of [2, 9, 10]) await writeCheckpoint(root, sampleContents(round))
    await cp(join(root, 'round-10'), join(root, '.round-11.00000000.1.00000000.tmp'), { recursive: true })
    await mkdir(join(root, 'round-012'))
    expect((await newestCheckpoint(root))?.contents.state.round).toBe(10)
  })

  test('says of all what is wrong with them where none is whole', async () => {
    for (const round of [1, 2]) await writeCheckpoint(root, sampleContents(round))
    await rm(join(root, 'round-1', 'checkpoint.json'))
    await truncate(join(root, 'round-2', 'moments.safetensors'), 100)
    await expect(newestCheckpoint(root)).rejects.toMatchObject({
      code: 'CHECKPOINT_CORRUPT',
      why: expect.stringMatching(/round-2: moments.safetensors has 100 bytes.*; round-1: checkpoint.json is missing/) as string,
    })
  })

  test('refuses one of a later version by name, and does not go back behind it', async () => {
    for (const round of [1, 2]) await writeCheckpoint(root, sampleContents(round))
    const path = join(root, 'round-2', 'checkpoint.json')
    const { sha256: _, ...facts } = JSON.parse(await readFile(path, 'utf8')) as CheckpointFacts & { sha256: string }
    await writeFile(path, withDigest({ ...facts, version: 2 as 1, cutlayer: '9.1.0' }))
    await expect(newestCheckpoint(root)).rejects.toMatchObject({
      code: 'CHECKPOINT_TOO_NEW',
      why: expect.stringMatching(/version 2, written by cutlayer 9.1.0, .* up to 1$/) as string,
    })
  })

  test('takes no more of a file into memory than there is of it, whatever it claims', async () => {
    await writeCheckpoint(root, sampleContents(1))
    const path = join(root, 'round-1', 'checkpoint.json')
    const { sha256: _, ...facts } = JSON.parse(await readFile(path, 'utf8')) as CheckpointFacts & { sha256: string }
    const files = facts.files.map((file) => ({ ...file, bytes: 2 ** 52 }))
    await writeFile(path, withDigest({ ...facts, files }))
    await expect(readCheckpoint(root, 1)).rejects.toThrow('should have 4503599627370496')
  })
})

/** Written by version 1; every later program has to read it. */
test('a checkpoint of version 1 is read as it was written', async () => {
  const fixture = fileURLToPath(new URL('testing/version-1', import.meta.url))
  expect(await readCheckpoint(fixture, 4)).toEqual(sampleContents(4))
})

describe('too many checkpoints', () => {
  test('are removed, the oldest first, and so is what dead processes have begun', async () => {
    for (const round of [1, 2, 3, 10]) await writeCheckpoint(root, sampleContents(round))
    // No process has this number: it is above what systems give.
    await mkdir(temporaryPath(join(root, 'round-11')).replace(`.${process.pid}.`, '.99999999.'))
    const living = temporaryPath(join(root, 'round-11'))
    await mkdir(living)
    await removeOldCheckpoints(root, 2)
    expect((await readdir(root)).sort()).toEqual([basename(living), 'round-10', 'round-3'])
    await removeOldCheckpoints(root, 5)
    expect(await checkpointRounds(root)).toEqual([3, 10])
  })
})

const reason = whyNoDisk()
describe.skipIf(reason !== null)('on a disk that is full', () => {
  test.each([0, 1, 2, 3, 4, 5, 6])('with %i pages left none is half-written, and the older ones stay', async (pages) => {
    const disk = new SmallDisk({ bytes: 60 * PAGE_BYTES })
    try {
      await writeCheckpoint(disk.at('checkpoints'), sampleContents(1))
      disk.fill(pages * PAGE_BYTES)
      await expect(writeCheckpoint(disk.at('checkpoints'), sampleContents(2))).rejects.toMatchObject({ code: 'ENOSPC' })
      expect(await readdir(disk.at('checkpoints'))).toEqual(['round-1'])
      expect((await newestCheckpoint(disk.at('checkpoints')))?.contents).toEqual(sampleContents(1))
    } finally {
      disk.remove()
    }
  })
})
