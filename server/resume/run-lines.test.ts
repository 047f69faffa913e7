import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { RoundLine, TrafficLine } from '../../shared/run-records.js'
import { readRunLines } from './run-lines.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutlayer-lines-'))
  await mkdir(join(folder, 'metrics'))
})
afterEach(() => rm(folder, { recursive: true }))

const write = (name: string, lines: readonly unknown[], end = '\n'): Promise<void> =>
  writeFile(join(folder, name), lines.map((line) => JSON.stringify(line)).join('\n') + end)

function round(number: number, attempt = 0): RoundLine {
  const none = { train_loss: null, eval_loss: null, eval_perplexity: null, eval_bits_per_byte: null, aggregation: null }
  return { round: number, attempt, ...none, seconds: 1, clients: [] }
}

function traffic(number: number, attempt = 0): TrafficLine {
  const bytes = { messages: 1, payload_bytes: 2, wire_bytes: 3, fp32_bytes: 0 }
  return { round: number, attempt, client: 'a', direction: 'up', kind: 'control', ...bytes }
}

describe('the lines of an interrupted run', () => {
  test('tell which rounds stand, of each the last attempt, and which traffic of the last is written', async () => {
    await write('metrics/rounds.jsonl', [round(0), round(1), round(2), round(2, 1), round(3)])
    await write('traffic.jsonl', [traffic(0), traffic(1), traffic(2), traffic(2, 1)])
    const lines = await readRunLines(folder, 2)
    expect(lines.rounds).toEqual([round(0), round(1), round(2, 1)])
    expect(lines.traffic).toEqual([traffic(2, 1)])
  })

  test('name later rounds in any file: the highest attempt at each is given up', async () => {
    await write('metrics/rounds.jsonl', [round(0), round(1), round(3, 1)])
    await write('metrics/steps.jsonl', [
      { round: 2, attempt: 0 },
      { round: 4, attempt: 3 },
      { round: 4, attempt: 1 },
    ])
    await write('events.jsonl', [
      { event: 'join', round: 0 },
      { event: 'deadline', round: 5 },
      { event: 'resume', round: 6, attempt: 2 },
      { event: 'warning' },
    ])
    await write('traffic.jsonl', [traffic(7)])
    expect(await readRunLines(folder, 1)).toMatchObject({
      abandoned: new Map(
        [
          [3, 1],
          [2, 0],
          [4, 3],
          [5, 0],
          [6, 2],
          [7, 0],
        ].sort(([a], [b]) => a! - b!) as [number, number][],
      ),
    })
  })

  test('may be cut, strange or missing', async () => {
    await write('metrics/rounds.jsonl', [round(0), { round: 1 }, 'text', null, { round: -1, attempt: 'x' }], '\n{"round": 1, "att')
    expect(await readRunLines(folder, -1)).toEqual({
      rounds: [],
      traffic: [],
      abandoned: new Map([
        [0, 0],
        [1, 0],
      ]),
    })
  })
})
