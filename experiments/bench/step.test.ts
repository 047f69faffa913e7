import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { closeBeforeExit } from '../../shared/exit.node.js'
import { typeForScript } from '../testing/type.js'
import { benchStepCommand, measureStep } from './step.js'

const TINY = { model_type: 'gpt2', vocab_size: 50, n_positions: 16, n_embd: 16, n_layer: 2, n_head: 2 }
const TINY_LLAMA = {
  model_type: 'llama',
  vocab_size: 50,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
}

async function folders(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith(`cutlayer-bench-${process.pid}-`))
}

test.each([
  { config: TINY, seq: 16, scored: 1, precision: 'fp32' },
  { config: TINY, seq: 16, scored: 1, precision: 'q8' },
  { config: TINY_LLAMA, seq: 16, scored: 0.25, precision: 'q8' },
  { config: TINY, seq: 2, scored: 0, precision: 'fp32' },
] as const)(
  'times steps of a $config.model_type of any shape in $precision, $seq tokens with $scored scored, and removes its weights',
  async ({ config, seq, scored, precision }) => {
    const { stepMs, peakMegabytes } = await measureStep({ source: { config }, precision, batch: 2, seq, scored, threads: 1 })
    expect(stepMs).toHaveLength(7)
    expect([...stepMs]).toEqual([...stepMs].sort((a, b) => a - b))
    expect(stepMs[0]).toBeGreaterThan(0)
    expect(peakMegabytes).toBeGreaterThan(10)
    expect(await folders()).toEqual([])
  },
)

test('steps on tfjs are timed too, and have no profile', async () => {
  const shape = { source: { config: TINY }, engine: 'tfjs', precision: 'fp32', batch: 2, seq: 8, scored: 1, threads: 1 } as const
  const { stepMs, profile } = await measureStep(shape)
  expect(stepMs).toHaveLength(7)
  expect(profile).toBeNull()
  expect(await folders()).toEqual([])
  const { error } = await typeForScript([benchStepCommand], 'bench', 'step', '--engine', 'tfjs', '--profile', 'nowhere')
  expect(error).toMatchObject({ code: 'BAD_ARGUMENT', why: expect.stringContaining('--engine is tfjs') as string })
})

test('a measurement that is cut short by the end of the process removes its weights too', async () => {
  const ended: Promise<boolean>[] = []
  const onStep = (done: number): void => {
    if (done === 1) ended.push(closeBeforeExit(10_000))
  }
  await measureStep({ source: { config: TINY }, precision: 'fp32', batch: 2, seq: 4, scored: 1, threads: 1, onStep }).catch(() => {})
  expect(await Promise.all(ended)).toEqual([true])
  expect(await folders()).toEqual([])
})

test('a profile tells the time by op, of the steps that count', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cutlayer-profile-'))
  try {
    const shape = { source: { config: TINY }, precision: 'fp32', batch: 2, seq: 8, scored: 1, threads: 1 } as const
    const { profile, stepMs } = await measureStep({ ...shape, profile: join(folder, 'new', 'step') })
    expect((await readdir(join(folder, 'new'))).every((name) => name.startsWith('step_'))).toBe(true)
    const { runMilliseconds, ops } = profile!
    // Of each block the four products, forward and back as far as there is an adapter below, and LoRA's; how many is the graph's affair.
    expect(ops.find(({ op }) => op === 'Gemm')!.nodes).toBeGreaterThan(2 * 4)
    // As many in every step: a warm-up step's nodes among the others would make fractions.
    expect(ops.every(({ nodes }) => Number.isInteger(nodes))).toBe(true)
    expect(ops.map(({ milliseconds }) => milliseconds)).toEqual(ops.map(({ milliseconds }) => milliseconds).sort((a, b) => b - a))
    for (const { milliseconds, share } of ops) expect(share).toBeCloseTo(milliseconds / runMilliseconds)
    expect(ops.reduce((sum, { milliseconds }) => sum + milliseconds, 0)).toBeLessThanOrEqual(runMilliseconds)
    expect(runMilliseconds).toBeLessThanOrEqual(Math.max(...stepMs))
    await writeFile(join(folder, 'file'), '')
    await expect(measureStep({ ...shape, profile: join(folder, 'file', 'step') })).rejects.toMatchObject({ code: 'OUTPUT_UNWRITABLE' })
  } finally {
    await rm(folder, { recursive: true })
  }
})
