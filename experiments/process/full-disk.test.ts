/**
 * @file A disk that is full, at every moment, and folders that cannot be written: an error that says so, and nothing half-written.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { storedMoments } from '../../client/moments.node.js'
import { runCommandLine } from '../../shared/command-line/frame.node.js'
import { fileLog } from '../../shared/log.node.js'
import { parseSafetensors } from '../../shared/model/safetensors.js'
import { f32 } from '../../shared/tensor.js'
import { commands } from '../command.js'
import { startProgram, type Envelope } from '../testing/program.js'
import { PAGE_BYTES, SmallDisk, whyNoDisk, type DiskOptions } from '../testing/small-disk.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

const reason = whyNoDisk()
if (reason !== null) console.warn(`tests of full disks are left out: ${reason}`)

const home = process.cwd()
let workshop: Workshop
let adapter: string
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.chdir(workshop.folder)
  await workshop.config('small.yaml', { model: { engine: 'reference' }, transport: { kind: 'memory' }, federation: { num_rounds: 2 } })
  const { envelope } = await type('run', 'small.yaml', 'federation.num_rounds=1')
  adapter = (envelope.data as { adapter_dir: string }).adapter_dir
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

const disks: SmallDisk[] = []
afterEach(() => {
  for (const disk of disks.splice(0)) disk.remove()
})
function openDisk(options: DiskOptions): SmallDisk {
  const disk = new SmallDisk(options)
  disks.push(disk)
  return disk
}

/** @param hear gets every line as it is written */
async function typeAndHear(hear: (line: Readonly<Record<string, unknown>>) => void, ...args: string[]) {
  let last = ''
  const write = (text: string): void => {
    last = text
    hear(JSON.parse(text) as Record<string, unknown>)
  }
  const streams = { stdout: { write }, stderr: { write: () => true }, environment: {} }
  const status = await runCommandLine({ version: '0', summary: '', commands }, [...args, '--format', 'json'], streams, () => undefined)
  return { status, envelope: JSON.parse(last) as Envelope }
}

const type = (...args: string[]) => typeAndHear(() => undefined, ...args)

const run = (disk: SmallDisk, hear: (line: Readonly<Record<string, unknown>>) => void = () => undefined) =>
  typeAndHear(hear, 'run', 'small.yaml', `output.output_dir=${disk.at('runs')}`)

/** Whatever was written stands there whole: lines, JSON, and the adapter with all its files. */
async function expectNothingHalfWritten(folder: string): Promise<void> {
  const entries = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile() && entry.name !== 'filler',
  )
  for (const { name, parentPath } of entries) {
    const path = join(parentPath, name)
    expect(name, path).not.toMatch(/\.tmp$/)
    if (name.endsWith('.json')) JSON.parse(await readFile(path, 'utf8'))
    if (name.endsWith('.jsonl')) {
      const lines = (await readFile(path, 'utf8')).split('\n')
      expect(lines.pop(), path).toBe('')
      for (const line of lines) JSON.parse(line)
    }
    if (name === 'adapter_model.safetensors') parseSafetensors(await readFile(path), { name: path, code: 'ADAPTER_CORRUPT' })
  }
  for (const parent of new Set(entries.map(({ parentPath }) => parentPath)))
    if (/adapter(-best)?$/.test(parent))
      expect((await readdir(parent)).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
}

const RUN_FULL = {
  status: 1,
  envelope: { exit_code: 110, error: { code: 'RUN_DIR_UNWRITABLE', fix: expect.stringContaining('room') as string } },
}

describe.skipIf(reason !== null)('a run whose disk is full', () => {
  test('before it begins leaves no folder', async () => {
    const disk = openDisk({ bytes: 64 * PAGE_BYTES })
    disk.fill(0)
    expect(await run(disk)).toMatchObject(RUN_FULL)
    expect(existsSync(disk.at('runs')) ? await readdir(disk.at('runs')) : []).toEqual([])
  })

  // How far it gets depends on what is left: lines, the adapter's files, the best one's, the summary.
  test.each([0, 1, 2, 3, 4, 6, 8, 10, 12])('with %i pages left as it begins', async (pages) => {
    const disk = openDisk({ bytes: 200 * PAGE_BYTES })
    expect(await run(disk, ({ event }) => event === 'start' && disk.fill(pages * PAGE_BYTES))).toMatchObject(RUN_FULL)
    await expectNothingHalfWritten(disk.folder)
  })

  test.each([0, 3, 5])('with %i pages left after its first round, which keeps its adapter', async (pages) => {
    const disk = openDisk({ bytes: 200 * PAGE_BYTES })
    let before: Buffer | undefined
    const file = (folder: string, name: string): string => disk.at('runs', folder, 'adapter', name)
    const ending = await run(disk, ({ event, round }) => {
      if (event !== 'round' || round !== 1) return
      disk.fill(pages * PAGE_BYTES)
      before = readFileSync(file(readdirSync(disk.at('runs'))[0]!, 'adapter_model.safetensors'))
    })
    expect(ending).toMatchObject(RUN_FULL)
    await expectNothingHalfWritten(disk.folder)
    const [folder] = await readdir(disk.at('runs'))
    expect(await readFile(file(folder!, 'adapter_model.safetensors'))).toEqual(before)
    expect(await readFile(file(folder!, 'README.md'), 'utf8')).toMatch(/Rounds\W+1\b/)
  })

  // One more file or folder can be made each time, up to all of them.
  test.each(Array.from({ length: 17 }, (_, index) => 2 + index))('of files, when it holds %i', async (inodes) => {
    const disk = openDisk({ bytes: 200 * PAGE_BYTES, inodes })
    expect(await run(disk)).toMatchObject(RUN_FULL)
    if (existsSync(disk.at('runs'))) await expectNothingHalfWritten(disk.folder)
  })

  test('while its clients are processes that log to it', async () => {
    const disk = openDisk({ bytes: 200 * PAGE_BYTES })
    const args = ['run', 'small.yaml', 'transport.kind=socket', 'federation.num_rounds=1000', `output.output_dir=${disk.at('runs')}`]
    const program = startProgram(args, { cwd: workshop.folder, env: workshop.environment })
    await program.line({ event: 'round', round: 0 })
    disk.fill(0)
    expect(await program.ended).toMatchObject(RUN_FULL)
    await expectNothingHalfWritten(disk.folder)
  })
})

describe.skipIf(reason !== null)('a disk that is full', () => {
  test.each([0, 10, 30, 55])(
    'under the cache, with %i pages left, is told, and nothing of the weights stays but what is whole',
    async (pages) => {
      const disk = openDisk({ bytes: 100 * PAGE_BYTES })
      disk.fill(pages * PAGE_BYTES)
      process.env.CUTLAYER_CACHE = disk.at('cache')
      try {
        for (const args of [
          ['run', 'small.yaml', 'output.output_dir=elsewhere'],
          ['generate', '--model', 'model', '--prompt', 'a', '--max-new-tokens', '1'],
        ]) {
          const { status, envelope } = await type(...args)
          expect(status).toBe(4)
          expect(envelope.error).toMatchObject({
            code: 'CACHE_UNWRITABLE',
            why: 'the disk is full',
            fix: expect.stringContaining('CUTLAYER_CACHE') as string,
          })
        }
        expect(existsSync(workshop.at('elsewhere'))).toBe(false)
        await expectNothingHalfWritten(disk.folder)
      } finally {
        process.env.CUTLAYER_CACHE = workshop.at('cache')
      }
    },
  )

  test.each([0, 1, 2, 3])('with %i pages left takes no exported adapter, and keeps nothing of it', async (pages) => {
    const disk = openDisk({ bytes: 100 * PAGE_BYTES })
    disk.fill(pages * PAGE_BYTES)
    const { status, envelope } = await type('export', 'small', disk.at('out'))
    expect([status, envelope.error!.code]).toEqual([5, 'OUTPUT_UNWRITABLE'])
    expect(envelope.error!.fix).toContain('room')
    expect(await readdir(disk.folder)).toEqual(['filler'])
  })

  test.each([0, 10, 40])('with %i pages left takes no merged model, and keeps nothing of it', async (pages) => {
    const disk = openDisk({ bytes: 100 * PAGE_BYTES })
    disk.fill(pages * PAGE_BYTES)
    const { status, envelope } = await type('merge', '--model', 'model', '--adapter', adapter, disk.at('out'))
    expect([status, envelope.error!.code]).toEqual([5, 'OUTPUT_UNWRITABLE'])
    expect(envelope.error!.fix).toContain('room')
    expect(await readdir(disk.folder)).toEqual(['filler'])
  })

  test.each([0, 1])("with %i pages left keeps a client's last optimizer state, and takes no further one", async (pages) => {
    const disk = openDisk({ bytes: 100 * PAGE_BYTES })
    const moments = storedMoments('run', 'ada', disk.at('state'))
    const state = {
      updates: 1,
      mean: new Map([['a', f32([2000], new Float32Array(2000))]]),
      square: new Map([['a', f32([2000], new Float32Array(2000))]]),
    }
    await moments.save(1, state, 1)
    disk.fill(pages * PAGE_BYTES)
    await expect(moments.save(2, state, 1)).rejects.toMatchObject({
      code: 'CLIENT_FAILED',
      fix: expect.stringContaining('CUTLAYER_STATE') as string,
    })
    expect(await moments.load(1)).toMatchObject({ updates: 1 })
    expect(await readdir(disk.at('state', 'run', 'ada'))).toEqual(['round-1.safetensors'])
  })

  test('under the temporary folder keeps a run with client processes from starting', async () => {
    const disk = openDisk({ bytes: 100 * PAGE_BYTES })
    disk.fill(0)
    const env = { ...workshop.environment, TMPDIR: disk.folder }
    const args = ['run', 'small.yaml', 'transport.kind=socket', 'output.output_dir=temporary']
    const { status, envelope } = await startProgram(args, { cwd: workshop.folder, env }).ended
    expect([status, envelope.error!.code]).toEqual([5, 'OUTPUT_UNWRITABLE'])
    expect(envelope.error!.fix).toContain('TMPDIR')
    expect(await readdir(disk.folder)).toEqual(['filler'])
  })
})

/** Ways to make a folder that cannot be written, also by root. */
const WAYS: readonly (readonly [string, () => Promise<string>])[] = [
  [
    'a file is in the place of',
    async () => {
      await writeFile(workshop.at('taken'), 'mine')
      return workshop.at('taken')
    },
  ],
  ...(reason === null
    ? [
        [
          'a read-only disk holds',
          async () => {
            const disk = openDisk({ bytes: 16 * PAGE_BYTES })
            disk.makeReadOnly('kept')
            return disk.at('kept')
          },
        ] as const,
      ]
    : []),
]

describe.each(WAYS)('when %s', (_, make) => {
  test('the folder of runs, nothing is trained', async () => {
    const folder = await make()
    for (const output of [folder, join(folder, 'runs')]) {
      const { status, envelope } = await type('run', 'small.yaml', `output.output_dir=${output}`)
      expect([status, envelope.error!.code]).toEqual([1, 'RUN_DIR_UNWRITABLE'])
      expect(envelope.error!.fix).toContain('output.output_dir')
    }
    if (existsSync(workshop.at('taken'))) expect(await readFile(workshop.at('taken'), 'utf8')).toBe('mine')
  })

  test('the cache, the weights are not prepared', async () => {
    process.env.CUTLAYER_CACHE = join(await make(), 'cache')
    try {
      const { status, envelope } = await type('run', 'small.yaml', 'output.output_dir=elsewhere')
      expect([status, envelope.error!.code]).toEqual([4, 'CACHE_UNWRITABLE'])
      expect(envelope.error!.fix).toContain('CUTLAYER_CACHE')
      expect(existsSync(workshop.at('elsewhere'))).toBe(false)
    } finally {
      process.env.CUTLAYER_CACHE = workshop.at('cache')
    }
  })

  test('the target of export and merge, nothing is written', async () => {
    const out = join(await make(), 'out')
    for (const args of [
      ['export', 'small', out],
      ['merge', '--model', 'model', '--adapter', adapter, out],
    ]) {
      const { status, envelope } = await type(...args)
      expect([status, envelope.error!.code]).toEqual([5, 'OUTPUT_UNWRITABLE'])
      expect(envelope.error!.fix).toContain('name another folder')
    }
  })

  test("a client's state folder, it says what to set", async () => {
    const moments = storedMoments('run', 'ada', join(await make(), 'state'))
    const failure = { code: 'CLIENT_FAILED', fix: expect.stringContaining('CUTLAYER_STATE') as string }
    await expect(moments.save(1, { updates: 1, mean: new Map(), square: new Map() }, 1)).rejects.toMatchObject(failure)
  })
})

describe.skipIf(reason !== null)('a log', () => {
  test('leaves out what does not fit on a full disk, and goes on with whole lines when there is room again', () => {
    const disk = openDisk({ bytes: 8 * PAGE_BYTES })
    const log = fileLog(disk.at('server.log'), {})
    const words = 'x'.repeat(1000)
    log.info({ words }, 'before')
    disk.fill(0)
    // The page that was begun has room for some of them.
    for (let line = 0; line < 10; line++) log.info({ words }, 'meanwhile')
    disk.fill(2 * PAGE_BYTES)
    log.info({ words }, 'after')
    log.close()
    const lines = readFileSync(disk.at('server.log'), 'utf8').trimEnd().split('\n')
    const whole = lines.filter((line) => line.endsWith('"}')).map((line) => (JSON.parse(line) as { msg: string }).msg)
    expect(whole).toEqual(['before', 'meanwhile', 'meanwhile', 'after'])
    expect(lines).toHaveLength(5) // and the half of one
  })
})
