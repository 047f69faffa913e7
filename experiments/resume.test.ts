import { cp, mkdir, readdir, readFile, rm, truncate } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parse } from 'yaml'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { configOperands } from '../server/resume/command-line.js'
import { lockFile } from '../server/run-directory.js'
import { takeRunLock } from '../server/run-lock.js'
import { openInterruptedRun } from '../server/resume/interrupted-run.js'
import { loadConfig } from '../shared/config/load.node.js'
import type { Config } from '../shared/config/schema.js'
import type { RunEvent, StepLine } from '../shared/run-records.js'
import type { RunResult } from '../server/run-summary.js'
import { commands } from './command.js'
import { runExperiment } from './experiment.js'
import { findRun, readRun } from './runs.js'
import { writeGoldenModel } from './testing/golden-model.js'
import { numbersOf } from './testing/killed-run.js'
import { typeCommand, typeForScript } from './testing/type.js'
import { openWorkshop, type Workshop } from './testing/workshop.js'

const STEPS = 4

let workshop: Workshop
/** A run of three rounds that nothing happened to, and one of five. */
let whole: string
let longer: string
const home = process.cwd()
beforeAll(async () => {
  workshop = await openWorkshop()
  process.env.CUTLAYER_CACHE = workshop.at('cache')
  process.env.CUTLAYER_STATE = workshop.at('state')
  process.chdir(workshop.folder)
  const federation = { num_rounds: 3, num_clients: 2, local_steps: STEPS }
  await workshop.config('small.yaml', {
    model: { model_name_or_path: 'model', engine: 'reference' },
    transport: { kind: 'memory' },
    federation,
  })
  whole = (await runExperiment(await load())).run_dir
  longer = (await runExperiment(await load('federation.num_rounds=5'))).run_dir
})
afterAll(async () => {
  process.chdir(home)
  await workshop.remove()
})

const load = (...overrides: string[]): Promise<Config> => loadConfig('small.yaml', overrides)

/** A run that was told to stop in the middle of this round. */
function interruptedIn(round: number, ...overrides: string[]): Promise<string> {
  return interruptedAt({ round, step: 0 }, ...overrides)
}

async function interruptedAt(place: { readonly round: number; readonly step: number }, ...overrides: string[]): Promise<string> {
  const stop = new AbortController()
  const watcher = { step: ({ round, step }: StepLine) => void (round === place.round && step === place.step && stop.abort()) }
  return (await runExperiment(await load(...overrides), { signal: stop.signal, watcher })).run_dir
}

async function goOn(folder: string, ...overrides: string[]): Promise<{ readonly result: RunResult; readonly events: readonly RunEvent[] }> {
  const events: RunEvent[] = []
  const resume = await openInterruptedRun(folder, () => load(...overrides))
  const result = await runExperiment(resume.config, { resume, watcher: { event: (event) => void events.push(event) } })
  return { result, events }
}

const checkpointsOf = async (folder: string): Promise<string[]> => (await readdir(join(folder, 'checkpoints'))).sort()
const eventsOf = (events: readonly RunEvent[], name: string): RunEvent[] => events.filter(({ event }) => event === name)

/** All that a folder holds, by path. */
async function contentsOf(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(await Promise.all(files.sort().map(async (file) => [file, (await readFile(file)).toString('base64')] as const)))
}

describe('a run that was told to stop', () => {
  test('goes on behind its last checkpoint, in its own folder, and ends as if nothing had happened', async () => {
    const folder = await interruptedIn(3)
    expect((await readRun(await findRun(folder, ''))).summary).toMatchObject({ status: 'interrupted', rounds: 2 })
    expect(await checkpointsOf(folder)).toEqual(['round-1', 'round-2'])
    const { result, events } = await goOn(folder)
    expect(result.run_dir).toBe(folder)
    expect(result.rounds.map(({ round }) => round)).toEqual([0, 1, 2, 3])
    expect(eventsOf(events, 'resume')).toEqual([
      { event: 'resume', round: 3, attempt: 1, abandoned: [{ round: 3, attempt: 0 }], reason: 'from checkpoints/round-2' },
    ])
    expect(await numbersOf(folder)).toEqual(await numbersOf(whole))
    expect(await checkpointsOf(folder)).toEqual(['round-2', 'round-3'])
    const { metadata, summary, rounds } = await readRun(await findRun(folder, ''))
    expect(rounds.map(({ attempt }) => attempt)).toEqual([0, 0, 0, 1])
    expect(metadata?.resumed).toMatchObject([{ pid: process.pid, argv: [] }])
    expect(summary?.started).toBe(metadata?.created)
  })

  test('behind its last step, and not evaluated, makes the round again', async () => {
    const folder = await interruptedAt({ round: 2, step: STEPS - 1 })
    expect((await readRun(await findRun(folder, ''))).rounds.at(-1)).toMatchObject({ round: 2, eval_loss: null })
    expect(await checkpointsOf(folder)).toEqual(['round-1'])
    await goOn(folder)
    expect(await numbersOf(folder)).toEqual(await numbersOf(whole))
  })

  test('before a round was through starts at its beginning, and says so', async () => {
    const folder = await interruptedIn(1)
    const { events } = await goOn(folder)
    expect(eventsOf(events, 'resume')).toMatchObject([
      { round: 0, attempt: 1, reason: 'there is no checkpoint yet: it starts at its beginning' },
    ])
    expect(await numbersOf(folder)).toEqual(await numbersOf(whole))
  })

  test('counts the bytes of what counts, each once', async () => {
    const folder = await interruptedIn(3)
    await goOn(folder)
    const [run, calm] = [await readRun(await findRun(folder, '')), await readRun(await findRun(whole, ''))]
    const ofAdapters = (lines: typeof run.traffic) => lines.filter(({ kind }) => kind === 'adapter').map(({ attempt: _, ...line }) => line)
    expect(ofAdapters(run.traffic)).toEqual(ofAdapters(calm.traffic))
    const sum = run.traffic.reduce((total, { direction, wire_bytes }) => total + (direction === 'up' ? wire_bytes : 0), 0)
    expect(run.summary?.uplink_bytes).toBe(sum)
  })
})

describe('a checkpoint that is torn', () => {
  test('is passed over for the one before, and the run says so', async () => {
    const folder = await interruptedIn(3)
    await truncate(join(folder, 'checkpoints/round-2/moments.safetensors'), 200)
    const { events } = await goOn(folder)
    expect(eventsOf(events, 'checkpoint-torn')).toMatchObject([
      { round: 2, reason: expect.stringContaining('moments.safetensors has 200 bytes') as string },
    ])
    expect(eventsOf(events, 'resume')).toMatchObject([
      {
        round: 2,
        attempt: 1,
        abandoned: [
          { round: 2, attempt: 0 },
          { round: 3, attempt: 0 },
        ],
        reason: 'from checkpoints/round-1',
      },
    ])
    expect(await numbersOf(folder)).toEqual(await numbersOf(whole))
    expect((await readRun(await findRun(folder, ''))).rounds.map(({ attempt }) => attempt)).toEqual([0, 0, 1, 1])
  })

  test('with all others ends it by name, and leaves everything as it was', async () => {
    const folder = await interruptedIn(3)
    for (const round of await checkpointsOf(folder)) await rm(join(folder, 'checkpoints', round, 'adapter.safetensors'))
    const before = await contentsOf(folder)
    await expect(goOn(folder)).rejects.toMatchObject({
      code: 'CHECKPOINT_CORRUPT',
      why: expect.stringMatching(/round-2: .*; round-1: /) as string,
    })
    expect(await contentsOf(folder)).toEqual(before)
  })
})

describe('a run that has finished', () => {
  test('has nothing to go on with', async () => {
    const before = await contentsOf(whole)
    await expect(goOn(whole)).rejects.toMatchObject({
      code: 'RUN_FINISHED',
      fix: expect.stringContaining('federation.num_rounds=6') as string,
    })
    expect(await contentsOf(whole)).toEqual(before)
  })

  test('is trained further with more rounds, and is then what it would have been with them from the start', async () => {
    const folder = workshop.at('runs', basename(whole).replace(/_[0-9a-f]+$/, '_further'))
    await cp(whole, folder, { recursive: true })
    const { result } = await goOn(folder, 'federation.num_rounds=5')
    expect(result.rounds.map(({ round }) => round)).toEqual([0, 1, 2, 3, 4, 5])
    expect(await numbersOf(folder)).toEqual(await numbersOf(longer))
    expect(parse(await readFile(join(folder, 'config.yaml'), 'utf8'))).toMatchObject({ federation: { num_rounds: 5 } })
  })

  test('but was killed before its summary is brought to its end without clients', async () => {
    const folder = workshop.at('runs', basename(whole).replace(/_[0-9a-f]+$/, '_unsummed'))
    await cp(whole, folder, { recursive: true })
    await rm(join(folder, 'metrics/summary.json'))
    await rm(join(folder, 'adapter'), { recursive: true })
    const { events } = await goOn(folder)
    expect(eventsOf(events, 'join')).toEqual([])
    expect(await numbersOf(folder)).toEqual(await numbersOf(whole))
  })
})

describe('a run does not go on', () => {
  test('with a config that would make it another run', async () => {
    const folder = await interruptedIn(2)
    const before = await contentsOf(folder)
    await expect(goOn(folder, 'train.learning_rate=0.5')).rejects.toMatchObject({
      code: 'RESUME_DIFFERS',
      why: expect.stringContaining('train.learning_rate') as string,
    })
    expect(await contentsOf(folder)).toEqual(before)
  })

  test('with another model under the same name', async () => {
    const folder = await interruptedIn(2)
    await mkdir(workshop.at('other'))
    await writeGoldenModel(workshop.at('other'), 'gpt2', { eos: true, zeros: true })
    await expect(goOn(folder, 'model.model_name_or_path=other')).rejects.toMatchObject({ code: 'MODEL_DIGEST_DIFFERS' })
    // Nothing keeps it from going on with its own after that.
    await goOn(folder)
  })

  test('while a process that lives goes on with it', async () => {
    const folder = await interruptedIn(2)
    const lock = takeRunLock(lockFile(folder))
    await expect(goOn(folder)).rejects.toMatchObject({
      code: 'RUN_IN_USE',
      why: expect.stringContaining(`process ${process.pid}`) as string,
    })
    lock.release()
    await goOn(folder)
  })

  test('but waits for one that has not quite ended', async () => {
    const folder = await interruptedIn(2)
    const lock = takeRunLock(lockFile(folder))
    const going = goOn(folder)
    lock.release()
    expect((await going).result.rounds).toHaveLength(4)
  })
})

test('codecs that remember rows begin anew, and a warning says what that means', async () => {
  const codec = 'transport.activation_codec=delta+int8'
  const folder = await interruptedIn(2, codec)
  const { events, result } = await goOn(folder, codec)
  expect(eventsOf(events, 'warning')).toMatchObject([
    { reason: expect.stringContaining('delta+int8 begin with an empty memory') as string },
  ])
  expect(result.rounds).toHaveLength(4)
})

test.each([1, 3])('output.save_total_limit: %i keeps as many checkpoints', async (limit) => {
  const { run_dir } = await runExperiment(await load(`output.save_total_limit=${limit}`))
  expect(await checkpointsOf(run_dir)).toEqual(['round-1', 'round-2', 'round-3'].slice(-limit))
})

describe('typed', () => {
  test('without a config it goes on with its own, by name, with what is changed', async () => {
    await interruptedIn(2, 'output.output_dir=elsewhere', 'output.run_name=mine')
    const { status, data } = await typeForScript<RunResult>(
      commands,
      'run',
      'output.output_dir=elsewhere',
      'federation.num_rounds=5',
      '--resume',
      'mine',
    )
    expect(status).toBe('ok')
    expect(data.rounds.map(({ round }) => round)).toEqual([0, 1, 2, 3, 4, 5])
    expect(await numbersOf(data.run_dir)).toEqual(await numbersOf(longer))
  })

  test('the run has to be there', async () => {
    const { error } = await typeForScript(commands, 'run', '--resume', 'nobody')
    expect(error).toMatchObject({ code: 'RUN_NOT_FOUND' })
  })

  test('a config in the first place is told from what changes one', () => {
    expect(configOperands(['a.yaml', 'train.seed=1'])).toEqual({ path: 'a.yaml', overrides: ['train.seed=1'] })
    expect(configOperands(['train.seed=1', 'b.c.d=2'])).toEqual({ path: null, overrides: ['train.seed=1', 'b.c.d=2'] })
    expect(configOperands(['./odd=name.yaml'])).toEqual({ path: './odd=name.yaml', overrides: [] })
    expect(configOperands([])).toEqual({ path: null, overrides: [] })
  })

  test('what a run is told as it goes on, a person reads', async () => {
    const folder = await interruptedIn(3)
    const { status, stderr, stdout } = await typeCommand(commands, 'run', '--resume', folder)
    expect(status).toBe(0)
    expect(stderr + stdout).toMatch(/goes on with round 3, from checkpoints\/round-2/)
  })
})
