import { expect, test } from 'vitest'
import { growthPerClient, measureClients } from './clients.js'

test('runs with few and with many clients are compared, and no more are selected than there are', async () => {
  const { runs, bytesPerClient } = await measureClients({ clients: [2, 6], selected: [1, 3], localSteps: 1, batch: 1, seq: 8, rounds: 2 })
  expect(runs.map(({ clients, selected }) => [clients, selected])).toEqual([
    [2, 1],
    [6, 1],
    [6, 3],
  ])
  for (const { roundSeconds, secondsPerSelected, selected, startSeconds } of runs) {
    expect(startSeconds).toBeGreaterThan(0)
    expect(secondsPerSelected * selected).toBeCloseTo(roundSeconds)
  }
  if (process.platform === 'linux') expect(bytesPerClient).not.toBeNull()
})

test('the memory of one more client is the growth with as many selected', () => {
  const runs = [
    { clients: 10, selected: 4, peakBytes: 100 },
    { clients: 10, selected: 8, peakBytes: 150 },
    { clients: 100, selected: 4, peakBytes: 400 },
    { clients: 110, selected: 4, peakBytes: 500 },
    { clients: 110, selected: 8, peakBytes: 750 },
    { clients: 110, selected: 16, peakBytes: 999 },
  ]
  expect(growthPerClient(runs)).toBe((4 + 6) / 2)
  expect(growthPerClient(runs.slice(0, 2))).toBeNull()
  expect(growthPerClient([{ clients: 1, selected: 1, peakBytes: null }, ...runs])).toBeNull()
})
