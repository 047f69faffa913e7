/**
 * @file What a run leaves that was ended before its time: whole lines, a whole adapter of the last round that has a line, a summary.
 */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { expect } from 'vitest'
import { z } from 'zod'
import { parseSafetensors } from '../../shared/model/safetensors.js'
import { EventLine, Metadata, RoundLine, StepLine, Summary, TrafficLine } from '../../shared/run-records.js'
import type { RunResult } from '../../server/run-summary.js'
import type { Ending } from './program.js'

/** The folders of the runs in a folder. */
export async function runsIn(outputDir: string): Promise<string[]> {
  return existsSync(outputDir) ? (await readdir(outputDir)).map((name) => join(outputDir, name)) : []
}

/** Every line is whole, and of its kind. */
export async function linesOf<Schema extends z.ZodType>(file: string, schema: Schema): Promise<z.infer<Schema>[]> {
  const text = await readFile(file, 'utf8')
  expect(text === '' || text.endsWith('\n'), file).toBe(true)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => schema.parse(JSON.parse(line)))
}

export async function expectWholeLogs(runDir: string): Promise<RoundLine[]> {
  const metadata = JSON.parse(await readFile(join(runDir, 'metadata.json'), 'utf8')) as unknown
  Metadata.parse(metadata)
  await linesOf(join(runDir, 'metrics', 'steps.jsonl'), StepLine)
  await linesOf(join(runDir, 'traffic.jsonl'), TrafficLine)
  await linesOf(join(runDir, 'events.jsonl'), EventLine)
  await linesOf(join(runDir, 'logs', 'server.log'), z.looseObject({ level: z.string() }))
  return linesOf(join(runDir, 'metrics', 'rounds.jsonl'), RoundLine)
}

/** The adapter is that of the last round that has a line. */
export async function expectWholeAdapter(runDir: string, rounds: readonly RoundLine[]): Promise<void> {
  const last = rounds.at(-1)?.round ?? 0
  const adapter = join(runDir, 'adapter')
  expect(existsSync(adapter)).toBe(last > 0)
  if (last === 0) return
  expect((await readdir(adapter)).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
  JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8'))
  const { tensors } = parseSafetensors(await readFile(join(adapter, 'adapter_model.safetensors')), {
    name: 'adapter',
    code: 'ADAPTER_CORRUPT',
  })
  expect(tensors.size).toBe(8)
  expect(await readFile(join(adapter, 'README.md'), 'utf8')).toMatch(new RegExp(`Rounds\\W+${last}\\b`))
}

/** It is told how to go on, and behind which round: the last of which there is a checkpoint, and no other file. */
async function expectResumable({ run_dir, resume }: Pick<RunResult, 'run_dir' | 'resume'>): Promise<void> {
  expect(resume?.command).toMatch(new RegExp(`^npx cutlayer (run|server) --resume \\S*${basename(run_dir)}`))
  const found = await readdir(join(run_dir, 'checkpoints')).catch(() => [])
  const names = found.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
  expect(names.at(-1) ?? 'round-0').toBe(`round-${resume?.round}`)
  expect(names.length).toBeLessThanOrEqual(2)
  expect(await readdir(run_dir)).not.toContain('run.lock')
}

/** What a run that was asked once to stop must leave. */
export async function expectGoodOrder({ status, envelope }: Ending, outputDir: string): Promise<void> {
  expect(envelope).toMatchObject({ status: 'error', exit_code: 130, error: { code: 'INTERRUPTED' } })
  expect(status).toBe(130)
  const runs = await runsIn(outputDir)
  const data = envelope.data as (Pick<RunResult, 'run_dir' | 'adapter_dir' | 'resume'> & { rounds: { round: number }[] }) | null
  expect(runs).toEqual(data === null ? [] : [data.run_dir])
  if (data === null) return
  const rounds = await expectWholeLogs(data.run_dir)
  expect(data.rounds.map(({ round }) => round)).toEqual(rounds.map(({ round }) => round))
  const summary = Summary.parse(JSON.parse(await readFile(join(data.run_dir, 'metrics', 'summary.json'), 'utf8')))
  expect(summary).toMatchObject({ status: 'interrupted', rounds: rounds.filter(({ round }) => round > 0).length, error: null })
  await expectWholeAdapter(data.run_dir, rounds)
  await expectResumable(data)
  expect(data.adapter_dir).toBe(existsSync(join(data.run_dir, 'adapter')) ? join(data.run_dir, 'adapter') : null)
}
