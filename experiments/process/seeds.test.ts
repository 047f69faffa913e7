/**
 * @file Several seeds in one command, by the built program.
 */
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { runCommandLine } from '../../shared/command-line/frame.node.js'
import { Metadata } from '../../shared/run-records.js'
import type { Comparison } from '../compare.js'
import { runCommand } from '../run.js'
import { startProgram, type Ending, type Envelope, type Program } from '../testing/program.js'
import { openWorkshop, type Workshop } from '../testing/workshop.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
})
afterAll(() => workshop.remove())

const start = (...args: string[]): Program => startProgram(args, { cwd: workshop.folder, env: workshop.environment })

const MEASURES = ['train_loss', 'eval_loss', 'eval_perplexity', 'best_eval_loss', 'uplink_bytes', 'downlink_bytes', 'seconds'] as const
const Measures = z.strictObject(
  Object.fromEntries(MEASURES.map((key) => [key, z.number()])) as Record<(typeof MEASURES)[number], z.ZodNumber>,
)
/** `data` of `run` with a list of seeds, key by key. */
const SeriesData = z.strictObject({
  group: z.string(),
  runs: z.array(
    Measures.extend({
      seed: z.int(),
      status: z.string(),
      run_dir: z.string(),
      adapter_dir: z.string(),
      rounds: z.array(z.looseObject({ round: z.int(), eval_loss: z.number() })),
      error: z.null(),
    }),
  ),
  seeds: z.strictObject({ complete: z.int(), mean: Measures, deviation: Measures }),
})

describe('a run of three seeds', () => {
  let ending: Ending
  let lines: readonly Record<string, unknown>[]
  let data: z.infer<typeof SeriesData>
  beforeAll(async () => {
    await workshop.config('tiny.yaml', { transport: { kind: 'memory' }, train: { seed: [5, 1, 3] } })
    const run = start('run', 'tiny.yaml')
    ending = await run.ended
    lines = run.lines
    data = SeriesData.parse(ending.envelope.data)
  })

  test('makes one run for each, in their order, and tells which one goes on', () => {
    expect(ending.status).toBe(0)
    expect(data.runs.map(({ seed, status }) => [seed, status])).toEqual([
      [5, 'complete'],
      [1, 'complete'],
      [3, 'complete'],
    ])
    const told = lines.filter(({ event }) => ['seed', 'start', 'seed-over'].includes(String(event)))
    expect(told.map(({ event, seed }) => [event, seed])).toEqual(
      [5, 1, 3].flatMap((seed) => [['seed', seed], ['start', undefined], ['seed-over', seed]]), // prettier-ignore
    )
  })

  test('gives mean and sample deviation of what the runs tell', () => {
    expect(data.seeds.complete).toBe(3)
    for (const key of MEASURES) {
      const values = data.runs.map((run) => run[key])
      const mean = (values[0] + values[1] + values[2]) / 3
      const squares = values.map((value) => (value - mean) ** 2)
      expect(data.seeds.mean[key]).toBeCloseTo(mean, 9)
      expect(data.seeds.deviation[key]).toBeCloseTo(Math.sqrt((squares[0] + squares[1] + squares[2]) / 2), 9)
    }
    expect(data.seeds.deviation.eval_loss).toBeGreaterThan(0)
    for (const run of data.runs) expect(run.eval_loss).toBe(run.rounds.at(-1)!.eval_loss)
  })

  test('leaves folders that each hold one seed and the group', async () => {
    for (const [index, { run_dir, seed }] of data.runs.entries()) {
      expect(await readFile(join(run_dir, 'config.yaml'), 'utf8')).toMatch(new RegExp(`^  seed: ${seed}$`, 'm'))
      const metadata = Metadata.parse(JSON.parse(await readFile(join(run_dir, 'metadata.json'), 'utf8')))
      expect(metadata.group).toEqual({ id: data.group, seeds: [5, 1, 3], index })
    }
  })

  test('is listed, compared and inspected as one group', async () => {
    const listed = (await start('list').ended).envelope.data as { runs: unknown[] }
    expect(listed.runs).toMatchObject(data.runs.map((_, index) => ({ group: { id: data.group, index } })))
    const compared = (await start('compare', data.group).ended).envelope.data as Comparison
    expect(compared.differences.map(({ key }) => key)).toEqual(['train.seed'])
    expect(compared.runs.map(({ run_dir }) => run_dir)).toEqual(data.runs.map(({ run_dir }) => run_dir))
    expect(compared.groups).toMatchObject([{ id: data.group, seeds: [5, 1, 3], complete: 3 }])
    const { mean, deviation } = compared.groups[0]
    expect(mean.perplexity_last).toBe(data.seeds.mean.eval_perplexity)
    expect(deviation.uplink_bytes).toBe(data.seeds.deviation.uplink_bytes)
    const shown = await start('inspect', data.group).ended
    expect(shown.envelope.data).toMatchObject({ run_dir: data.runs[2].run_dir, group: { id: data.group, index: 2 } })
  })

  test('trains each as a run of that seed alone would', async () => {
    const alone = await start('run', 'tiny.yaml', 'train.seed=3').ended
    const { rounds, ...others } = alone.envelope.data as { run_dir: string; adapter_dir: string; rounds: { eval_loss: number }[] }
    expect(Object.keys(others)).toEqual(['run_dir', 'adapter_dir', 'cut'])
    expect(rounds.map(({ eval_loss }) => eval_loss)).toEqual(data.runs[2].rounds.map(({ eval_loss }) => eval_loss))
  })
})

describe('a series in which one run fails', () => {
  /** In this process. @param spoil gets each run's folder as it is made. */
  async function type(spoil: (folder: string, run: number) => void, ...args: string[]) {
    const lines: Record<string, unknown>[] = []
    let run = 0
    const write = (text: string): void => {
      const line = JSON.parse(text) as Record<string, unknown>
      if (line.event === 'start') spoil(String(line.run_dir), run++)
      lines.push(line)
    }
    const streams = { stdout: { write }, stderr: { write: () => true }, environment: {} }
    const frame = { version: '0', summary: '', commands: [runCommand] }
    const status = await runCommandLine(frame, [...args, '--format', 'json'], streams, () => undefined)
    return { status, envelope: lines.at(-1) as unknown as Envelope }
  }
  const home = process.cwd()
  beforeAll(async () => {
    await workshop.config('fails.yaml', {
      model: { engine: 'reference' },
      transport: { kind: 'memory' },
      federation: { num_rounds: 1 },
      train: { seed: [1, 2, 3] },
    })
    process.chdir(workshop.folder)
  })
  afterAll(() => process.chdir(home))

  test('the others go on, and the program ends with its error', async () => {
    const { status, envelope } = await type((folder, run) => {
      // A file where its adapter's folder is to go.
      if (run === 1) writeFileSync(join(folder, 'adapter'), '')
    }, 'run', 'fails.yaml') // prettier-ignore
    expect(status).toBe(1)
    expect(envelope).toMatchObject({ status: 'error', exit_code: 110, error: { code: 'RUN_DIR_UNWRITABLE' } })
    expect(envelope.error!.what).toContain('the run of seed 2 failed')
    expect(envelope.data).toMatchObject({
      runs: [
        { seed: 1, status: 'complete', error: null },
        { seed: 2, status: 'failed', error: { code: 'RUN_DIR_UNWRITABLE' } },
        { seed: 3, status: 'complete', error: null },
      ],
      seeds: { complete: 2 },
    })
  })

  test('if it is the first, and of something that all share, nothing more is begun', async () => {
    const { status, envelope } = await type(() => undefined, 'run', 'fails.yaml', 'model.model_name_or_path=nowhere')
    expect(status).toBe(4)
    expect(envelope).toMatchObject({ data: null, error: { code: 'MODEL_NOT_FOUND' } })
  })
})

test('Ctrl-C ends the run under way, and the series', async () => {
  const federation = { num_rounds: 1000, local_steps: 5 }
  const run = start('run', await workshop.config('long.yaml', { federation, transport: { kind: 'memory' }, train: { seed: [1, 2] } }))
  await run.line({ event: 'round', round: 1 })
  run.child.kill('SIGINT')
  const { status, envelope } = await run.ended
  expect(envelope).toMatchObject({
    exit_code: 130,
    data: { runs: [{ error: null, status: 'interrupted', seed: 1 }], seeds: { complete: 0 } },
  })
  expect(status).toBe(130)
  expect((envelope.data as { runs: unknown[] }).runs).toHaveLength(1)
})

test('validate takes a list of seeds, and server refuses it by name', async () => {
  await workshop.config('list.yaml', { train: { seed: [1, 2] } })
  const validated = await start('validate', 'list.yaml').ended
  expect(validated.status).toBe(0)
  const { status, envelope } = await start('server', 'list.yaml', '--port', '0').ended
  expect(status).toBe(5)
  expect(envelope.error).toMatchObject({ code: 'CONFIG_VALUE', why: expect.stringContaining('train.seed says [1,2]') as string })
})
