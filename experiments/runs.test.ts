import { appendFile, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createRunDirectory, type RunDirectory } from '../server/run-directory.js'
import { Config } from '../shared/config/schema.js'
import type { RoundLine, StepLine } from '../shared/run-records.js'
import { findRun, listRuns, readRun, readSteps } from './runs.js'

let outputDir: string
beforeEach(async () => {
  outputDir = await mkdtemp(join(tmpdir(), 'cutlayer-runs-'))
})
afterEach(() => rm(outputDir, { recursive: true }))

const model = { name: 'tiny', digest: 'abc', family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }

function create(name: string, id: string, now: string): RunDirectory {
  return createRunDirectory({ outputDir, name, id, config: Config.parse({}), metadata: { argv: [], model }, now: new Date(now) })
}

function round(number: number, attempt: number, trainLoss: number): RoundLine {
  const none = { eval_loss: null, eval_perplexity: null, eval_bits_per_byte: null }
  return { round: number, attempt, train_loss: trainLoss, ...none, seconds: 1, clients: [], aggregation: null }
}

function step(number: number, attempt: number): StepLine {
  return { round: 1, attempt, step: number, client: 'a', loss: 1, tokens: 5, lr: 0.1, grad_norm: 1, top_grad_norm: null }
}

describe('finding a run', () => {
  beforeEach(async () => {
    for (const [name, id, now] of [
      ['exp', 'aaaa', '2026-01-01T00:00:00Z'],
      ['exp', 'bbbb', '2026-01-02T00:00:00Z'],
      ['two_words', 'cccc', '2026-01-01T12:00:00Z'],
    ] as const) {
      create(name, id, now).close()
    }
    await writeFile(join(outputDir, 'notes.txt'), '')
  })

  test('lists them from the oldest to the newest, and nothing else', async () => {
    expect((await listRuns(outputDir)).map(({ id }) => id)).toEqual(['aaaa', 'cccc', 'bbbb'])
  })

  test.each([
    [undefined, 'bbbb'],
    ['aaaa', 'aaaa'],
    ['exp', 'bbbb'],
    ['two_words', 'cccc'],
    ['20260101-000000_exp_aaaa', 'aaaa'],
  ])('by %s gives the run %s', async (reference, id) => {
    expect((await findRun(reference, outputDir)).id).toBe(id)
  })

  test('goes by folder, wherever it lies', async () => {
    const [first] = await listRuns(outputDir)
    expect(await findRun(first!.folder, 'elsewhere')).toEqual(first)
  })

  test('tells runs of the same second apart', async () => {
    const late = create('exp', 'zzzz', '2026-01-03T00:00:00Z')
    const early = create('exp', 'yyyy', '2026-01-03T00:00:00Z')
    await utimes(join(early.folder, 'config.yaml'), 1000, 1000)
    await utimes(join(late.folder, 'config.yaml'), 2000, 2000)
    expect((await findRun(undefined, outputDir)).id).toBe('zzzz')
    late.close()
    early.close()
  })

  test('fails by name where there is none', async () => {
    await expect(findRun('other', outputDir)).rejects.toMatchObject({
      code: 'RUN_NOT_FOUND',
      why: expect.stringContaining('3 runs') as string,
    })
    await expect(findRun(undefined, join(outputDir, 'none'))).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' })
  })
})

describe('reading a run', () => {
  test('keeps the highest attempt of each round', async () => {
    const directory = create('exp', 'aaaa', '2026-01-01T00:00:00Z')
    for (const line of [round(0, 0, 9), round(1, 0, 5), round(2, 0, 4), round(1, 1, 3)]) directory.appendRound(line)
    for (const line of [step(0, 0), step(1, 0), step(0, 1)]) directory.appendStep(line)
    directory.appendTraffic({
      round: 1,
      attempt: 0,
      client: 'a',
      direction: 'up',
      kind: 'adapter',
      messages: 1,
      payload_bytes: 2,
      wire_bytes: 3,
      fp32_bytes: 0,
    })
    directory.close()
    const run = await readRun(await findRun('aaaa', outputDir))
    expect(run.rounds.map(({ train_loss }) => train_loss)).toEqual([9, 3, 4])
    expect(run.traffic).toEqual([])
    expect((await readSteps(run)).steps).toEqual([step(0, 1)])
    expect(run.warnings).toEqual([])
    expect(run.metadata?.model).toEqual(model)
    expect(run.summary).toBeNull()
  })

  test('passes over attempts that were given up, also of rounds that are not made again yet', async () => {
    const directory = create('exp', 'aaaa', '2026-01-01T00:00:00Z')
    for (const line of [round(0, 0, 9), round(1, 0, 5), round(2, 0, 4)]) directory.appendRound(line)
    directory.appendStep(step(0, 0))
    const abandoned = [
      { round: 1, attempt: 0 },
      { round: 2, attempt: 0 },
    ]
    directory.appendEvent({ event: 'resume', round: 1, attempt: 1, abandoned })
    directory.close()
    const before = await readRun(await findRun('aaaa', outputDir))
    expect(before.rounds).toEqual([round(0, 0, 9)])
    expect((await readSteps(before)).steps).toEqual([])
    await appendFile(join(directory.folder, 'metrics/rounds.jsonl'), `${JSON.stringify(round(1, 1, 5))}\n`)
    expect((await readRun(await findRun('aaaa', outputDir))).rounds).toEqual([round(0, 0, 9), round(1, 1, 5)])
  })

  test('leaves out a last line that a crash cut, with a warning', async () => {
    const directory = create('exp', 'aaaa', '2026-01-01T00:00:00Z')
    directory.appendRound(round(0, 0, 9))
    directory.close()
    const path = join(directory.folder, 'metrics/rounds.jsonl')
    await appendFile(path, JSON.stringify(round(1, 0, 5)).slice(0, 40))
    const run = await readRun(await findRun(directory.folder, outputDir))
    expect(run.rounds).toHaveLength(1)
    expect(run.warnings).toEqual([`${path}, line 2: cut off in the middle; left out`])
  })

  test('goes on behind a line that it cannot read', async () => {
    const directory = create('exp', 'aaaa', '2026-01-01T00:00:00Z')
    const path = join(directory.folder, 'metrics/rounds.jsonl')
    await appendFile(path, `{"round": "one"}\n`)
    directory.appendRound(round(1, 0, 5))
    directory.close()
    await writeFile(join(directory.folder, 'config.yaml'), 'a: [')
    const run = await readRun(await findRun(basename(directory.folder), outputDir))
    expect(run.rounds).toEqual([round(1, 0, 5)])
    expect(run.warnings).toHaveLength(2)
  })
})
