import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { Config } from '../shared/config/schema.js'
import { EventLine, Metadata, type RoundLine, Summary } from '../shared/run-records.js'
import { createRunDirectory, type RunDirectory } from './run-directory.js'

const MODEL = { name: 'tiny', digest: 'abc', family: 'gpt2', layers: 2, hidden_size: 8, parameters: 100 }
const ROUND: RoundLine = {
  round: 1,
  attempt: 0,
  train_loss: 3,
  eval_loss: null,
  eval_perplexity: null,
  eval_bits_per_byte: null,
  seconds: 1.5,
  clients: [],
  aggregation: { strategy: 'fedavg', weight_by: 'examples', replies: 1, missing: [] },
}

let outputDir: string
const open: RunDirectory[] = []
beforeEach(async () => {
  outputDir = await mkdtemp(join(tmpdir(), 'cutlayer-runs-'))
})
afterEach(async () => {
  for (const run of open.splice(0)) run.close()
  await rm(outputDir, { recursive: true })
})

function create(facts: { id?: string; outputDir?: string } = {}): RunDirectory {
  const now = new Date('2026-01-31T23:59:59.500Z')
  const config = Config.parse({ transport: { token_file: 'token.txt' } })
  const run = createRunDirectory({
    outputDir,
    name: 'quick.start',
    config,
    metadata: { argv: ['run', 'a.yaml'], model: MODEL },
    now,
    ...facts,
  })
  open.push(run)
  return run
}

describe('a run directory', () => {
  test('is named by its start in UTC, its name and its id', () => {
    const run = create({ id: 'a1b2c3' })
    expect(basename(run.folder)).toBe('20260131-235959_quick.start_a1b2c3')
  })

  test('gets an id of its own where none is given', () => {
    expect(create().folder).not.toBe(create().folder)
  })

  test('starts with its config, its metadata and empty line files', async () => {
    const run = create()
    expect((await readdir(run.folder)).sort()).toEqual([
      'config.yaml',
      'events.jsonl',
      'logs',
      'metadata.json',
      'metrics',
      'run.lock',
      'traffic.jsonl',
    ])
    expect(Config.parse(parse(await readFile(join(run.folder, 'config.yaml'), 'utf8')))).toEqual(
      Config.parse({ transport: { token_file: 'token.txt' } }),
    )
    const metadata = Metadata.parse(JSON.parse(await readFile(join(run.folder, 'metadata.json'), 'utf8')))
    expect(metadata).toMatchObject({
      id: run.id,
      name: 'quick.start',
      created: '2026-01-31T23:59:59.500Z',
      argv: ['run', 'a.yaml'],
      model: MODEL,
    })
    expect(metadata.versions.node).toBe(process.versions.node)
  })

  test('holds each line at the end of the turn in which it is appended', async () => {
    const run = create()
    for (const round of [1, 2]) {
      run.appendRound({ ...ROUND, round })
      await setImmediate()
      const lines = (await readFile(join(run.folder, 'metrics/rounds.jsonl'), 'utf8')).split('\n')
      expect(lines).toHaveLength(round + 1)
      expect(JSON.parse(lines[round - 1]!)).toEqual({ ...ROUND, round })
    }
  })

  test('writes NaN as null, and why', async () => {
    const run = create()
    run.appendRound({ ...ROUND, train_loss: NaN, eval_loss: Infinity })
    run.close()
    const line = JSON.parse(await readFile(join(run.folder, 'metrics/rounds.jsonl'), 'utf8')) as unknown
    expect(line).toEqual({ ...ROUND, train_loss: null, reason: 'train_loss is NaN; eval_loss is Infinity' })
  })

  test('stamps its events with the time', async () => {
    const run = create()
    run.appendEvent({ event: 'join', client: 'client-0' })
    run.close()
    expect(EventLine.parse(JSON.parse(await readFile(join(run.folder, 'events.jsonl'), 'utf8')))).toMatchObject({
      event: 'join',
      client: 'client-0',
    })
  })

  test('keeps its summary whole', async () => {
    const run = create()
    const summary = {
      status: 'complete' as const,
      started: run.created.toISOString(),
      ended: '2026-02-01T00:00:09.500Z',
      seconds: 10,
      rounds: 1,
      before: { round: 0, eval_loss: 5, eval_perplexity: 148.4 },
      last: null,
      best: null,
      uplink_bytes: 1,
      downlink_bytes: 2,
      error: null,
    }
    run.writeSummary(summary)
    expect(Summary.parse(JSON.parse(await readFile(join(run.folder, 'metrics/summary.json'), 'utf8')))).toEqual({
      schema_version: 1,
      ...summary,
    })
  })

  test('never goes into one that is there', () => {
    create({ id: 'same' })
    expect(() => create({ id: 'same' })).toThrow(expect.objectContaining({ code: 'RUN_DIR_UNWRITABLE' }) as Error)
  })

  test('says where it could not be made', async () => {
    const blocked = join(outputDir, 'file')
    await writeFile(blocked, '')
    expect(() => create({ outputDir: blocked })).toThrow(
      expect.objectContaining({ code: 'RUN_DIR_UNWRITABLE', why: expect.stringContaining(blocked) as string }) as Error,
    )
  })

  test('names no log outside itself', () => {
    const run = create()
    expect(run.logFile('client-ada')).toBe(join(run.folder, 'logs', 'client-ada.log'))
    expect(() => run.logFile('../server')).toThrow('bug')
  })
})
