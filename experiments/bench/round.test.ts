import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { measureRounds, type RoundShape } from './round.js'

const TINY: RoundShape = {
  model: { model_type: 'gpt2', vocab_size: 4096, n_positions: 16, n_embd: 16, n_layer: 2, n_head: 2 },
  topology: 'split',
  transport: 'socket',
  cut: 1,
  clients: 2,
  localSteps: 3,
  batch: 2,
  seq: 8,
  precision: 'fp32',
  rank: 2,
  rounds: 2,
}

test.each(['socket', 'memory'] as const)('rounds over %s are those of a whole run, and leave nothing behind', async (transport) => {
  const done: number[] = []
  const { rounds, startSeconds } = await measureRounds({ ...TINY, transport }, (round) => done.push(round))
  expect(rounds.map(({ round }) => round)).toEqual([1, 2])
  expect(done).toEqual([0, 1, 2])
  expect(startSeconds).toBeGreaterThan(0)
  // Activations f32 of 2 clients, 3 steps, 2 rows of 8 tokens and 16 wide; the rest of the traffic comes on top.
  for (const { seconds, train_loss, uplink_bytes, downlink_bytes } of rounds) {
    expect(seconds).toBeGreaterThan(0)
    expect(train_loss).toBeGreaterThan(0)
    expect(Math.min(uplink_bytes, downlink_bytes)).toBeGreaterThan(2 * 3 * 2 * 8 * 16 * 4)
  }
  expect((await readdir(tmpdir())).filter((name) => name.startsWith(`cutlayer-bench-${process.pid}-`))).toEqual([])
})

test('a trace of the rounds tells how busy the engine was in them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-trace-'))
  try {
    const { engineBusyShare } = await measureRounds({ ...TINY, transport: 'memory' }, undefined, join(folder, 'trace.json'))
    const { otherData } = JSON.parse(await readFile(join(folder, 'trace.json'), 'utf8')) as {
      otherData: { engine_busy_share: number | null }
    }
    expect(engineBusyShare).toBe(otherData.engine_busy_share)
    if (platform() === 'linux') expect(engineBusyShare).toBeGreaterThan(0)
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('what the run fails of is told', async () => {
  await expect(measureRounds({ ...TINY, cut: 3 })).rejects.toMatchObject({ code: 'CUT_OUT_OF_RANGE' })
})
