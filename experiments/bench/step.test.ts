import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { closeBeforeExit } from '../../shared/exit.node.js'
import { measureStep } from './step.js'

const TINY = { model_type: 'gpt2', vocab_size: 50, n_positions: 16, n_embd: 16, n_layer: 2, n_head: 2 }

async function folders(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith(`cutlayer-bench-${process.pid}-`))
}

test.each([
  { seq: 16, scored: 1 },
  { seq: 16, scored: 0.25 },
  { seq: 2, scored: 0 },
])('times steps of a model of any shape, $seq tokens with $scored scored, and removes its weights', async ({ seq, scored }) => {
  const { stepMs, peakMegabytes } = await measureStep({ source: { config: TINY }, batch: 2, seq, scored, threads: 1 })
  expect(stepMs).toHaveLength(7)
  expect([...stepMs]).toEqual([...stepMs].sort((a, b) => a - b))
  expect(stepMs[0]).toBeGreaterThan(0)
  expect(peakMegabytes).toBeGreaterThan(10)
  expect(await folders()).toEqual([])
})

test('a measurement that is cut short by the end of the process removes its weights too', async () => {
  const ended: Promise<boolean>[] = []
  const onStep = (done: number): void => {
    if (done === 1) ended.push(closeBeforeExit(10_000))
  }
  await measureStep({ source: { config: TINY }, batch: 2, seq: 4, scored: 1, threads: 1, onStep }).catch(() => {})
  expect(await Promise.all(ended)).toEqual([true])
  expect(await folders()).toEqual([])
})
